//! What the errors of the orders context are to a caller: the one place that knows.

use shared::{
    orders::rules::Refusal,
    platform::{
        money::MoneyError,
        problem::{FieldError, Problem},
    },
};

/// The problem that a body with faulty members is to a caller.
#[must_use]
pub fn body_problem(errors: Vec<FieldError>) -> Problem {
    Problem::unprocessable("invalid-body", "the body does not have the expected form")
        .with_errors(errors)
}

/// The problem that an order is which comes to nothing.
#[must_use]
pub fn nothing_to_pay() -> Problem {
    Problem::unprocessable("nothing-to-pay", "the order comes to nothing")
}

/// The problem that a number is which no order of the caller has.
#[must_use]
pub fn no_order() -> Problem {
    Problem::not_found("no such order")
}

/// The problem that a command is which the rules refuse.
#[must_use]
pub fn refusal_problem(refusal: Refusal) -> Problem {
    let detail = refusal.to_string();
    let conflict = |code| Problem::conflict(code, detail.clone());
    let invalid = |code| Problem::unprocessable(code, detail.clone());
    match refusal {
        Refusal::IllegalTransition { .. } => conflict("illegal-transition"),
        Refusal::Busy => {
            let detail =
                "the order is being worked on: it is not paid yet, or it is being cancelled";
            Problem::conflict("order-busy", detail).with_retry_after(1)
        }
        Refusal::RefundPending => conflict("refund-pending").with_retry_after(1),
        Refusal::PartlyRefunded => conflict("partly-refunded"),
        Refusal::TooManyRefunds => conflict("too-many-refunds"),
        Refusal::OrderCancelled => conflict("order-cancelled"),
        Refusal::OrderCompleted => conflict("order-completed"),
        Refusal::RefundTooLarge { .. } => invalid("refund-too-large"),
        Refusal::RefundAmount => invalid("refund-amount"),
        Refusal::RefundUnits { .. } => invalid("refund-units"),
        Refusal::Money(MoneyError::CurrencyMismatch(..)) => invalid("currency-mismatch"),
        // What only the saga's steps are told.
        Refusal::OutOfStock(_)
        | Refusal::PaymentDeclined(_)
        | Refusal::NoRefund
        | Refusal::OutOfOrder(_)
        | Refusal::Money(_) => Problem::internal(refusal),
    }
}
