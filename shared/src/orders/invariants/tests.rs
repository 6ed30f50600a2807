use std::cell::RefCell;

use super::*;
use crate::{
    orders::{
        event::{Reference, apply},
        model::{PaymentStanding, Reservation},
        testing,
    },
    platform::money::Currency,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// An order of three units of A that is paid, with all that belongs to it.
struct World {
    order: Order,
    stocks: Vec<Stock>,
    charges: Vec<Charge>,
    running: Vec<OrderId>,
    settled: bool,
}

fn money(amount: &str) -> Money {
    Money::parse(amount, Currency::SGD).unwrap()
}

fn history(total: Money) -> Vec<Happened> {
    vec![
        testing::created("ada", "card", &[("A", 3)]),
        Happened::Reserved { expires_at: NOW },
        Happened::PaymentStarted {
            expires_at: NOW,
            private: Reference {
                reference: "p1".to_owned(),
            },
        },
        Happened::PaymentAuthorised,
        Happened::Confirmed,
        Happened::Paid {
            amount: total,
            lines: 1,
        },
    ]
}

fn folded(history: &[Happened]) -> Order {
    let mut order = testing::order(1, &history[0], NOW);
    for happened in &history[1..] {
        let id = order.id.clone();
        order = apply(Some(order), &id, happened, NOW).unwrap();
    }
    order
}

impl World {
    fn paid() -> Self {
        let order = folded(&history(money("34.80")));
        let total = order.totals.total;
        assert_eq!(total, money("34.80"));
        Self {
            stocks: vec![Stock {
                sku: "A".parse().unwrap(),
                available: 7,
                reserved: 0,
                sold: 3,
                received: 10,
                version: 3,
            }],
            charges: vec![Charge {
                order: order.id.clone(),
                reference: "p1".to_owned(),
                held: money("0"),
                captured: total,
                refunded: money("0"),
            }],
            running: Vec::new(),
            settled: true,
            order,
        }
    }

    fn violations(&self) -> Vec<Violation> {
        violations(&Books {
            orders: std::slice::from_ref(&self.order),
            stocks: &self.stocks,
            charges: &self.charges,
            running: &self.running,
            settled: self.settled,
        })
    }
}

#[test]
fn a_paid_order_with_its_stock_and_its_money_is_in_order() {
    assert_eq!(World::paid().violations(), []);
}

#[test]
fn each_violation_is_found() {
    let id = || World::paid().order.id;
    let found = RefCell::new(Vec::new());
    let expect = |violation: Violation, spoil: fn(&mut World)| {
        let mut world = World::paid();
        spoil(&mut world);
        let violations = world.violations();
        assert!(
            violations.contains(&violation),
            "{violation}: {violations:?}"
        );
        found.borrow_mut().push(violation.to_string());
    };
    let sku: Sku = "A".parse().unwrap();
    expect(Violation::NoStock(sku.clone()), |world| {
        world.stocks.clear();
    });
    expect(Violation::Unbalanced(sku.clone()), |world| {
        world.stocks[0].available += 1;
    });
    let reserved = Violation::Reserved {
        sku: sku.clone(),
        stock: 1,
        orders: 0,
    };
    expect(reserved, |world| {
        world.stocks[0].reserved = 1;
    });
    let sold = Violation::Sold {
        sku,
        stock: 4,
        orders: 3,
    };
    expect(sold, |world| {
        world.stocks[0].sold = 4;
    });
    expect(Violation::Unrecorded(id()), |world| {
        "p2".clone_into(&mut world.charges[0].reference);
    });
    expect(
        Violation::Unrecorded("ORD-20261120-00000009".parse().unwrap()),
        |world| {
            world.charges[0].order = "ORD-20261120-00000009".parse().unwrap();
        },
    );
    expect(Violation::ChargedTwice(id()), |world| {
        world.charges.push(world.charges[0].clone());
    });
    expect(Violation::Overcharged(id()), |world| {
        world.charges[0].held = money("0.01");
    });
    expect(Violation::Overcharged(id()), |world| {
        let yen = "JPY".parse().unwrap();
        world.charges[0].captured = Money::parse("34.80", yen).unwrap();
    });
    expect(Violation::Overrefunded(id()), |world| {
        world.charges[0].refunded = money("34.81");
    });
    expect(Violation::Invented(id()), |world| {
        world.charges[0].captured = money("34.79");
    });
    expect(Violation::Premature(id()), |world| {
        world.order.status = Status::Pending;
    });
    let release = |world: &mut World| {
        world.order.reservation = Some(Reservation {
            holding: Holding::Released,
            expires_at: NOW,
        });
    };
    expect(Violation::MoneyWithoutStock(id()), release);
    expect(Violation::CancelledHolds(id()), |world| {
        world.order.status = Status::Cancelled;
    });
    expect(Violation::Unpaid(id()), |world| {
        world.order.status = Status::Shipped;
        world.charges[0].captured = money("34.79");
    });
    expect(Violation::Unpaid(id()), |world| {
        world.order.reservation.as_mut().unwrap().holding = Holding::Held;
    });
    expect(Violation::RefundedKeeps(id()), |world| {
        world.order.status = Status::Refunded;
    });
    expect(Violation::Unattended(id()), |world| {
        world.order.saga = Saga::Running;
        world.settled = false;
    });
    expect(Violation::Unfinished(id()), |world| {
        world.order.saga = Saga::Compensating;
        world.running.push(world.order.id.clone());
    });
    expect(Violation::Misrecorded(id()), |world| {
        world.charges[0].refunded = money("1");
    });
    assert_eq!(found.into_inner().len(), 20);
}

#[test]
fn at_work_the_record_may_be_behind_the_provider() {
    let mut world = World::paid();
    world.order = folded(&history(money("34.80"))[..5]);
    (world.stocks[0].reserved, world.stocks[0].sold) = (3, 0);
    world.running.push(world.order.id.clone());
    world.settled = false;
    assert_eq!(world.violations(), []);
    world.charges[0].captured = money("0");
    world.charges[0].held = money("34.80");
    assert_eq!(world.violations(), []);
}

#[test]
fn what_people_have_to_see_to_is_no_violation_at_rest() {
    let mut world = World::paid();
    world.order.saga = Saga::CompensationFailed;
    world.order.payment.as_mut().unwrap().standing = PaymentStanding::Authorised;
    assert_eq!(world.violations(), []);
}

#[test]
fn a_log_without_a_gap_folds_to_its_order() {
    let order = folded(&history(money("34.80")));
    let events: Vec<Event> = (1..)
        .zip(history(money("34.80")))
        .map(|(sequence, happened)| happened.to_event(&order.id, sequence, NOW))
        .collect();
    assert_eq!(of_log(&order, &events).unwrap(), []);
    let id = || order.id.clone();
    let without_end = of_log(&order, &events[..5]).unwrap();
    assert_eq!(
        without_end,
        [Violation::Gap(id()), Violation::Misfolded(id())]
    );
    let mut other = order.clone();
    other.notes = None;
    assert_eq!(
        of_log(&other, &events).unwrap(),
        [Violation::Misfolded(id())]
    );
    let mut foreign = events;
    "order.lost".clone_into(&mut foreign[5].kind);
    assert!(of_log(&order, &foreign).is_err());
}

#[test]
fn illegal_moves_are_found() {
    let mut history = history(money("34.80"));
    history.push(Happened::Delivered);
    history.push(Happened::CancellationRequested {
        reason: CancelReason::Failed,
        shortages: Vec::new(),
        private: event::Note { note: None },
    });
    let order = folded(&history);
    let numbered: Vec<_> = (1..)
        .zip(history)
        .map(|(sequence, happened)| (sequence, NOW, happened))
        .collect();
    let illegal = Violation::IllegalMove {
        order: order.id.clone(),
        from: Status::Confirmed,
        to: Status::Delivered,
    };
    let unasked = Violation::UndoneUnasked(order.id.clone());
    assert_eq!(of_history(&order, &numbered), [illegal, unasked]);
}
