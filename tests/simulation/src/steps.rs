//! The saga's steps, do and undo: the rules, and the provider between them, as the functions call them.

use shared::{
    orders::{
        event::CANCELLATION_REFUND,
        model::{CancelReason, Order},
        rules::{self, Refusal, Undo},
    },
    payments::{
        model::{Authorisation, Capture, GatewayError, PaymentState, Refunding, Voiding},
        rules::{self as payments, Outcome},
        sandbox::{self, model::Payment},
    },
    platform::money::Money,
};

use crate::{
    calls::{Call, Failure, Op},
    mutants::Mutant,
    world::World,
};

type Done = Result<(), Failure>;

pub async fn reserve(call: &Call) -> Done {
    let order = match call.change(rules::reserve).await {
        Err(Failure::Short(shortages)) => {
            call.change(|order, _| Ok(rules::out_of_stock(order, shortages.clone())))
                .await?
        }
        reserved => reserved?,
    };
    Ok(rules::go_on(&order)?)
}

pub async fn authorise(call: &Call) -> Done {
    let order = call.load().await?;
    rules::go_on(&order)?;
    let mut opened = None;
    let order = if order.payment.is_none() || call.is(Mutant::OpensAgain) {
        let reference = open(call, &order).await?;
        if call.is(Mutant::AuthorisesBeforeRecord) {
            authorised(call, &reference).await?;
        }
        let order = call
            .change(|order, now| rules::start_payment(order, &reference, now))
            .await?;
        opened = Some(reference).filter(|_| call.is(Mutant::OpensAgain));
        order
    } else {
        order
    };
    let reference = opened.map_or_else(|| reference(&order), Ok)?;
    let authorisation = authorised(call, &reference).await?;
    let order = call
        .change(|order, _| match authorisation {
            Authorisation::Authorised => rules::authorised(order),
            Authorisation::Declined(code) => rules::declined(order, code.as_str()),
        })
        .await?;
    Ok(rules::go_on(&order)?)
}

pub async fn confirm(call: &Call) -> Done {
    call.change(|order, _| rules::confirm(order))
        .await
        .map(drop)
}

pub async fn capture(call: &Call) -> Done {
    let order = call.load().await?;
    let is_early = call.is(Mutant::CapturesBeforeConfirming);
    if is_early || rules::must_capture(&order)? {
        let total = order.totals.total;
        if call.is(Mutant::RecordsCaptureFirst) {
            call.change(|order, _| rules::captured(order, total))
                .await?;
        }
        let amount = match captured(call, &order).await? {
            Capture::Captured(amount) => amount,
            Capture::Refused(_) => {
                call.change(|order, _| rules::abort(order, CancelReason::CaptureFailed))
                    .await?;
                if call.is(Mutant::TakesRefusalForVoid) {
                    call.change(|order, _| rules::voided(order)).await?;
                }
                return Err(Failure::CaptureFailed);
            }
        };
        if amount != total && !call.is(Mutant::BelievesAnyAmount) {
            return Err(Failure::Permanent);
        }
        let order = call
            .change(|order, _| rules::captured(order, amount))
            .await?;
        rules::go_on(&order)?;
    }
    Ok(())
}

pub async fn undo(call: &Call) -> Done {
    let mut order = call
        .change(|order, _| rules::abort(order, CancelReason::Failed))
        .await?;
    if call.is(Mutant::ReleasesBeforeVoiding) {
        drop(release(call).await);
    }
    // Void, find it captured, record that, refund: four turns at most.
    for _ in 0..4 {
        order = match rules::to_undo(&order)? {
            Undo::Nothing => return Ok(()),
            Undo::Void => {
                let voiding = voided(call, &order).await?;
                call.change(|order, _| match voiding {
                    Voiding::Voided => rules::voided(order),
                    Voiding::Captured(amount) => rules::captured(order, amount),
                })
                .await?
            }
            Undo::Refund(_) => {
                give_back(call, &order).await?;
                call.change(|order, _| rules::given_back(order)).await?
            }
        };
    }
    Err(Failure::Transient)
}

pub async fn release(call: &Call) -> Done {
    call.change(|order, _| rules::release(order))
        .await
        .map(drop)
}

pub async fn cancel(call: &Call) -> Done {
    call.change(|order, _| rules::cancelled(order))
        .await
        .map(drop)
}

pub async fn fail(call: &Call) -> Done {
    call.change(|order, _| Ok(rules::compensation_failed(order, "undo")))
        .await
        .map(drop)
}

pub async fn refund(call: &Call) -> Done {
    let refund_id = call.job.refund;
    let order = call.load().await?;
    let Some(refund) = rules::to_refund(&order, refund_id)? else {
        return Ok(());
    };
    if call.is(Mutant::RecordsRefundFirst) {
        call.change(|order, _| rules::refunded(order, refund_id))
            .await?;
    }
    let refunding = refunding(call, &order, refund.amount, refund_id).await?;
    call.change(|order, _| {
        if refunding == Refunding::Refunded {
            rules::refunded(order, refund_id)
        } else {
            rules::refund_failed(order, refund_id, "refused")
        }
    })
    .await
    .map(drop)
}

fn reference(order: &Order) -> Result<String, Failure> {
    let payment = order.payment.as_ref().ok_or(Failure::Permanent)?;
    Ok(payment.reference.clone())
}

async fn open(call: &Call, order: &Order) -> Result<String, Failure> {
    let key = if call.is(Mutant::OpensAgain) {
        call.sim.below(200)
    } else {
        0
    };
    Ok(call
        .op(Op::Open, |world| world.provider.open(order, key))
        .await??)
}

/// Calls the provider, and asks how the payment stands when no reply came.
async fn outcome(
    call: &Call,
    op: Op,
    reference: &str,
    act: impl FnOnce(&mut Payment) -> Outcome,
) -> Result<Outcome, Failure> {
    match call
        .op(op, |world| world.provider.call(reference, act))
        .await
    {
        Err(Failure::NoReply) => {
            let ask = |world: &mut World| world.provider.call(reference, |payment| payment.state);
            Ok(Outcome {
                state: call.op(Op::Ask, ask).await?,
                failure: Some(GatewayError::Transient(String::new())),
            })
        }
        outcome => outcome,
    }
}

async fn authorised(call: &Call, reference: &str) -> Result<Authorisation, Failure> {
    let authorise = |payment: &mut Payment| {
        if call.is(Mutant::RevivesVoided) && payment.state == PaymentState::Voided {
            payment.state = PaymentState::Opened;
        }
        sandbox::rules::authorise(payment)
    };
    let outcome = outcome(call, Op::Authorise, reference, authorise).await?;
    Ok(payments::authorisation(outcome)?)
}

async fn captured(call: &Call, order: &Order) -> Result<Capture, Failure> {
    let reference = &reference(order)?;
    let outcome = outcome(call, Op::Capture, reference, sandbox::rules::capture).await;
    if call.is(Mutant::BelievesAnyAmount) && matches!(outcome, Err(Failure::Untrusted)) {
        return Ok(Capture::Captured(order.lines[0].unit_price));
    }
    Ok(payments::capture(outcome?)?)
}

async fn voided(call: &Call, order: &Order) -> Result<Voiding, Failure> {
    let payment = order.payment.as_ref();
    let is_declined = payment.is_some_and(|payment| payment.decline_code.is_some());
    if call.is(Mutant::SkipsVoid) || (is_declined && call.is(Mutant::LeavesDeclined)) {
        return Ok(Voiding::Voided);
    }
    if call.is(Mutant::RecordsVoidFirst) {
        call.change(|order, _| rules::voided(order)).await?;
    }
    let reference = &reference(order)?;
    let outcome = outcome(call, Op::Void, reference, sandbox::rules::void).await?;
    Ok(match payments::voiding(outcome)? {
        Voiding::Captured(_) if call.is(Mutant::TakesCaptureForVoid) => Voiding::Voided,
        voiding => voiding,
    })
}

/// Gives back what the provider says is left, under the first name that was not refused before.
async fn give_back(call: &Call, order: &Order) -> Done {
    let payment = &reference(order)?;
    let ask = |world: &mut World| world.provider.call(payment, |payment| payment.state);
    let PaymentState::Captured { captured, refunded } = call.op(Op::Ask, ask).await? else {
        return Err(Failure::Permanent);
    };
    let left = captured.checked_sub(refunded).map_err(Refusal::from)?;
    if left.amount().is_zero() {
        return Ok(());
    }
    for number in 1..=20 {
        let name = match number {
            1 => CANCELLATION_REFUND.to_owned(),
            _ => format!("{CANCELLATION_REFUND}-{number}"),
        };
        match refunding(call, order, left, &name).await? {
            Refunding::Refunded => return Ok(()),
            Refunding::Refused(_) => return Err(Failure::Permanent),
            Refunding::RefusedBefore(_) => {}
        }
    }
    Err(Failure::Permanent)
}

async fn refunding(
    call: &Call,
    order: &Order,
    amount: Money,
    refund_id: &str,
) -> Result<Refunding, Failure> {
    let key = match call.sim.mutant {
        Some(Mutant::RefundsUnderFreshKey) => format!("{refund_id}{}", call.sim.below(200)),
        Some(Mutant::RefundsUnderOneKey) => "refund".to_owned(),
        _ => refund_id.to_owned(),
    };
    let reference = &reference(order)?;
    let refund = |payment: &mut Payment| sandbox::rules::refund(payment, amount, &key);
    Ok(call
        .op(Op::Refund, |world| world.provider.call(reference, refund))
        .await??)
}
