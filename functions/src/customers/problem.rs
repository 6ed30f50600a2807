//! What the errors of the customers context are to a caller: the one place that knows.

use http::StatusCode;
use shared::{
    customers::{rules::Refused, store::EnsureError},
    platform::problem::Problem,
};

/// The problem that it is to a caller that there is no profile of theirs.
#[must_use]
pub fn ensure_problem(error: EnsureError) -> Problem {
    match error {
        EnsureError::Erased => erased(),
        other => {
            let retryable = other.retryable();
            Problem::failed(other, retryable)
        }
    }
}

/// The problem that every call of an erased customer ends in.
#[must_use]
pub fn erased() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "customer-erased",
        "the customer was erased",
    )
}

/// The problem that an identifier is which none of the caller's addresses has.
#[must_use]
pub fn no_address() -> Problem {
    Problem::not_found("no such address")
}

/// The problem that a change is which the rules refuse.
#[must_use]
pub fn refused_problem(refused: Refused) -> Problem {
    match refused {
        Refused::NoAddress => no_address(),
        Refused::TooManyAddresses => Problem::conflict(
            "too-many-addresses",
            "a customer keeps at most 20 addresses",
        ),
        Refused::Body(errors) => {
            Problem::unprocessable("invalid-body", "the body does not have the expected form")
                .with_errors(errors)
        }
    }
}
