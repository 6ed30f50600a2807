use shared::orders::invariants::Violation as V;

use super::*;

/// Runs within which every bug is found.
const MOST_RUNS: u64 = 3_000;

/// What the first run finds that the bug is found in.
fn first_found(mutant: Mutant) -> Option<Broken> {
    (0..MOST_RUNS).find_map(|seed| play(seed, Some(mutant), false).1)
}

/// A test for each bug: what is found of it first.
macro_rules! found {
    ($($name:ident: $mutant:ident => $found:pat,)+) => {$(
        #[test]
        fn $name() {
            let found = first_found(Mutant::$mutant);
            assert!(matches!(&found, Some($found)), "{found:?}");
        }
    )+};
}

found! {
    two_writers_of_one_version_are_found: VersionUnchecked
        => Broken::Books(V::Reserved { .. } | V::Gap(_) | V::Misfolded(_)),
    a_reservation_without_its_condition_is_found: ReservesWhatIsNotThere
        => Broken::Books(V::Unbalanced(_)),
    a_reservation_in_part_is_found: ReservesInPart => Broken::Books(V::Reserved { .. }),
    stock_that_moves_apart_from_its_order_is_found: MovesInTheirOwnWrite
        => Broken::Books(V::Reserved { .. }),
    an_event_apart_from_its_order_is_found: EventInItsOwnWrite => Broken::Books(V::Gap(_)),
    an_order_that_nobody_starts_is_found: NewOrderNotDue => Broken::Books(V::Unattended(_)),
    a_cancellation_that_nobody_carries_out_is_found: CancellationNotDue
        => Broken::Books(V::Unattended(_)),
    a_second_order_for_one_request_is_found: RequestAnsweredTwice => Broken::OrderedTwice,
    a_second_reservation_is_found: ReservesTwice => Broken::Books(V::Reserved { .. }),
    a_second_release_is_found: ReleasesTwice => Broken::Short(_) | Broken::Books(V::Reserved { .. }),
    a_sale_that_moves_no_stock_is_found: SellsWithoutMoving => Broken::Books(V::Reserved { .. }),
    a_second_refund_is_found: RefundsTwice
        => Broken::Books(V::Sold { .. } | V::Invented(_) | V::RefundedKeeps(_)),
    a_confirmation_after_the_end_is_found: ConfirmsCancelled
        => Broken::Books(V::Unpaid(_) | V::IllegalMove { .. }),
    stock_released_before_its_money_is_found: ReleasesBeforeVoiding
        => Broken::Books(V::MoneyWithoutStock(_)),
    an_expiry_after_payment_began_is_found: ExpiresPaid
        => Broken::Books(V::MoneyWithoutStock(_) | V::CancelledHolds(_)),
    an_order_undone_unasked_is_found: UndoesCompleted => Broken::Books(V::UndoneUnasked(_)),
    an_order_cancelled_on_its_way_is_found: CancelsShipped
        => Broken::Books(V::IllegalMove { .. } | V::Unpaid(_) | V::MoneyWithoutStock(_)),
    an_order_cancelled_after_a_refund_is_found: CancelsPartlyRefunded
        => Broken::Books(V::Sold { .. }) | Broken::Short(_),
    a_refund_of_a_cancelled_order_is_found: RefundsCancelled => Broken::Endless,
    an_unpaid_order_that_is_packed_is_found: PacksUnpaid
        => Broken::Books(V::Unpaid(_) | V::IllegalMove { .. }),
    an_authorisation_that_is_not_on_record_is_found: AuthorisesBeforeRecord
        => Broken::Books(V::Unrecorded(_)),
    a_second_payment_is_found: OpensAgain => Broken::Books(V::Unrecorded(_) | V::ChargedTwice(_)),
    a_capture_before_the_confirmation_is_found: CapturesBeforeConfirming
        => Broken::Books(V::Premature(_)),
    a_capture_that_is_on_record_too_early_is_found: RecordsCaptureFirst
        => Broken::Books(V::Invented(_)),
    a_void_that_is_on_record_too_early_is_found: RecordsVoidFirst
        => Broken::Books(V::MoneyWithoutStock(_)),
    a_refund_that_is_on_record_too_early_is_found: RecordsRefundFirst
        => Broken::Books(V::Invented(_)),
    a_void_that_is_left_out_is_found: SkipsVoid => Broken::Books(V::MoneyWithoutStock(_)),
    a_capture_taken_for_a_void_is_found: TakesCaptureForVoid
        => Broken::Books(V::MoneyWithoutStock(_)),
    a_refused_capture_taken_for_a_void_is_found: TakesRefusalForVoid
        => Broken::Books(V::MoneyWithoutStock(_)),
    a_declined_payment_that_stays_open_is_found: LeavesDeclined
        => Broken::Books(V::MoneyWithoutStock(_)),
    an_amount_that_is_believed_unchecked_is_found: BelievesAnyAmount
        => Broken::Books(V::RefundedKeeps(_) | V::Unpaid(_) | V::Misrecorded(_)),
    a_refund_under_a_fresh_key_is_found: RefundsUnderFreshKey
        => Broken::Books(V::Misrecorded(_)) | Broken::Endless,
    refunds_under_one_key_are_found: RefundsUnderOneKey
        => Broken::Books(V::Invented(_)) | Broken::Endless,
    an_execution_that_is_never_redriven_is_found: NeverRedrives => Broken::Endless,
    an_authorisation_after_the_void_is_found: RevivesVoided
        => Broken::Books(V::MoneyWithoutStock(_) | V::CancelledHolds(_)),
}

#[test]
fn nothing_is_found_without_a_bug() {
    for seed in 0..500 {
        assert_eq!(play(seed, None, false).1, None, "seed {seed}");
    }
}

#[test]
fn a_seed_plays_the_same_run_again() {
    let operations = |seed| play(seed, None, false).0.operations;
    for seed in 0..20 {
        assert_eq!(operations(seed), operations(seed));
    }
}

#[test]
fn only_numbers_are_numbers_of_runs() {
    let parse = |line: &str| Command::parse(line.split_whitespace().map(str::to_owned));
    assert_eq!(parse("--runs 7").unwrap(), Command::Runs(7));
    assert_eq!(parse("--seed 7").unwrap(), Command::Replay(7));
    for wrong in ["--runs x", "--seed -1", "--seed", "--seeds 1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
