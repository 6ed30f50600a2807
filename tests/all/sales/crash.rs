//! Imports under crashes, lost replies and repetition: every run ends as an undisturbed one would.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use functions::sales::importer::{Importer, MEMORY, Outcome, Source};
use jiff::{SignedDuration, Timestamp, civil::Date};
use proptest::prelude::*;
use shared::{
    platform::{
        aws::{Connection, http_client},
        clock::Clock,
        ids::{self, Random},
        table::Write,
    },
    sales::{
        chunk::StoredRows,
        files::ImportFiles,
        import::{Import, ImportId, ObjectVersion, Status},
        store::SalesStore,
    },
    testing::{Database, Table},
};

use crate::support::{
    faults::{Fault, Plan},
    object_store::{ObjectStore, etag},
};

const HEADER: &str = "Sale Date,Sale ID,Item name,Total Paid\n";

/// A table and a bucket, and what a process needs to work with them.
struct World {
    database: Database,
    objects: ObjectStore,
    clock: Clock,
    puts: u64,
}

/// All that callers can see of the sales, and that must not depend on what went wrong on the way.
#[derive(Debug, PartialEq, Eq)]
struct Visible {
    days: BTreeMap<Date, (String, i64, i64)>,
    rows: BTreeMap<Date, Vec<String>>,
}

impl World {
    async fn start() -> Self {
        Self {
            database: Database::start(&[Table::new("Sales").index(
                "imports",
                "imports_pk",
                "imports_sk",
            )])
            .await,
            objects: ObjectStore::start().await,
            clock: Clock::fixed(Timestamp::from_second(1_760_000_000).unwrap()),
            puts: 0,
        }
    }

    /// A process whose calls on the table go by `plan`.
    fn process(&self, plan: &Arc<Plan>) -> Importer {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        let s3 = Connection::to_emulator(
            self.objects.endpoint(),
            http_client(Some(self.objects.endpoint())),
        );
        Importer {
            store: SalesStore::new(
                Connection::to_emulator(self.database.endpoint(), http).dynamodb(),
                "Sales".into(),
            ),
            files: ImportFiles::new(s3.s3(), "bucket".into()),
            clock: self.clock.clone(),
            random: Random::system(),
            memory: MEMORY,
            digests: Importer::DIGESTS,
        }
    }

    fn deadline(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_mins(15)
    }

    /// Puts a file, and makes the import that its event asks for.
    async fn announce(&mut self, file: &str) -> (ImportId, ObjectVersion) {
        self.puts += 1;
        let key = format!("imports/{}.csv", self.puts);
        self.objects.put(&format!("bucket/{key}"), file.to_owned());
        let object = ObjectVersion {
            key: key.clone(),
            etag: etag(file.as_bytes()),
            sequencer: self.puts.to_string(),
            size: file.len() as u64,
        };
        let id = ImportId::of_object(&object, self.clock.now());
        let import = Import::pending(id, key, false, "test".into(), self.clock.now());
        let store = self.process(&Plan::none()).store;
        assert_eq!(store.create_import(&import).await.unwrap(), Write::Done);
        (id, object)
    }

    async fn run(&self, process: &Importer, (id, object): &(ImportId, ObjectVersion)) -> Outcome {
        let source = Source::Object(object.clone());
        Box::pin(process.run(*id, &source, self.deadline()))
            .await
            .unwrap()
    }

    async fn import(&mut self, file: &str) -> Import {
        let announced = self.announce(file).await;
        let process = self.process(&Plan::none());
        match self.run(&process, &announced).await {
            Outcome::Ended(import) => *import,
            other => panic!("the import should have ended: {other:?}"),
        }
    }

    async fn begin_undo(&self, id: ImportId) {
        let store = self.process(&Plan::none()).store;
        let mut import = store.import(id).await.unwrap().unwrap();
        import.status = Status::Deleting;
        import.next_day = None;
        import.version += 1;
        assert_eq!(
            store
                .save_import(&import, import.version - 1)
                .await
                .unwrap(),
            Write::Done
        );
    }

    async fn undo(&self, id: ImportId) {
        self.begin_undo(id).await;
        let outcome = self
            .process(&Plan::none())
            .take_back(id, self.deadline())
            .await
            .unwrap();
        assert!(matches!(outcome, Outcome::Ended(_)));
    }

    fn errors_file(&self, id: ImportId) -> Option<bytes::Bytes> {
        self.objects.get(&format!("bucket/errors/{id}/errors.csv"))
    }

    async fn visible(&self) -> Visible {
        let store = self.process(&Plan::none()).store;
        let (start, end) = (Date::constant(2000, 1, 1), Date::constant(2030, 12, 31));
        let mut visible = Visible {
            days: BTreeMap::new(),
            rows: BTreeMap::new(),
        };
        for total in store.totals(start, end).await.unwrap() {
            if total.rows == 0 {
                assert!(
                    total.revenue.is_zero() && total.orders == 0,
                    "an empty day has no revenue"
                );
                continue;
            }
            let day = store.day(total.date).await.unwrap();
            let mut rows = Vec::new();
            for name in day.chunks.keys() {
                let frame = store
                    .chunk(total.date, name)
                    .await
                    .unwrap()
                    .expect("a listed chunk exists");
                for row in StoredRows::decode(&frame).unwrap().iter() {
                    rows.push(format!("{} #{}", row.cells.join(","), row.ordinal));
                }
            }
            rows.sort();
            assert_eq!(i64::try_from(rows.len()).unwrap(), total.rows);
            visible.days.insert(
                total.date,
                (total.revenue.to_string(), total.rows, total.orders),
            );
            visible.rows.insert(total.date, rows);
        }
        visible
    }

    async fn chunks_of(&self, date: Date) -> usize {
        let mut count = 0;
        let store = self.process(&Plan::none()).store;
        store
            .visit_chunks(date, |_, _| {
                count += 1;
                Ok(())
            })
            .await
            .unwrap();
        count
    }
}

fn file(rows: &[(u8, u8, u8, i16)]) -> String {
    let line = |(day, sale, item, cents): &(u8, u8, u8, i16)| {
        let sign = if *cents < 0 { "-" } else { "" };
        let cents = cents.unsigned_abs();
        format!(
            "3/{}/2025,S{sale},item {item},{sign}{}.{:02}\n",
            day + 1,
            cents / 100,
            cents % 100
        )
    };
    HEADER.to_owned() + &rows.iter().map(line).collect::<String>()
}

fn earlier() -> String {
    file(&[
        (0, 1, 1, 100),
        (0, 1, 1, 100),
        (1, 2, 1, 250),
        (2, 9, 9, -50),
    ])
}

fn later() -> String {
    // Overlaps the earlier file, repeats a row thrice, has a day of its own, and one bad row.
    file(&[
        (0, 1, 1, 100),
        (0, 1, 1, 100),
        (0, 1, 1, 100),
        (1, 2, 1, 250),
        (1, 3, 2, 999),
        (3, 4, 4, 1),
    ]) + "3/1/2025,S1,item 1,not money\n"
}

#[tokio::test]
async fn an_import_killed_at_any_write_and_delivered_again_ends_as_a_straight_run() {
    let mut straight = World::start().await;
    straight.import(&earlier()).await;
    let counted = Plan::none();
    let announced = straight.announce(&later()).await;
    let Outcome::Ended(reference) = straight.run(&straight.process(&counted), &announced).await
    else {
        panic!("the straight run ends")
    };
    let wanted = straight.visible().await;
    let wanted_errors = straight.errors_file(reference.id);
    assert!(wanted_errors.is_some());
    assert_eq!(
        (
            reference.counts.imported,
            reference.counts.duplicate,
            reference.counts.rejected
        ),
        (3, 3, 1)
    );
    assert!(counted.writes() >= 8, "{}", counted.writes());

    for fault in [Fault::DeathBefore, Fault::DeathAfter, Fault::LostReply] {
        for at in 0..counted.writes() {
            let mut world = World::start().await;
            world.import(&earlier()).await;
            let announced = world.announce(&later()).await;
            let plan = Plan::new(fault, at);
            let process = world.process(&plan);
            let ended = plan.survive(world.run(&process, &announced)).await;
            assert_eq!(
                ended.is_none(),
                fault != Fault::LostReply,
                "{fault:?} at write {at} strikes"
            );
            let again = world.process(&Plan::none());
            world.run(&again, &announced).await;
            let report = again.store.import(announced.0).await.unwrap().unwrap();
            assert_eq!(
                report.status,
                Status::CompletedWithErrors,
                "{fault:?} at write {at}"
            );
            assert_eq!(report.counts, reference.counts, "{fault:?} at write {at}");
            assert_eq!(
                world.errors_file(report.id),
                wanted_errors,
                "{fault:?} at write {at}"
            );
            assert_eq!(world.visible().await, wanted, "{fault:?} at write {at}");
        }
    }
}

#[tokio::test]
async fn an_undo_killed_at_any_write_and_begun_again_ends_as_a_straight_one() {
    let mut straight = World::start().await;
    straight.import(&earlier()).await;
    let wanted = straight.visible().await;
    let import = straight.import(&later()).await;
    straight.begin_undo(import.id).await;
    let counted = Plan::none();
    straight
        .process(&counted)
        .take_back(import.id, straight.deadline())
        .await
        .unwrap();
    assert_eq!(straight.visible().await, wanted);

    for fault in [Fault::DeathBefore, Fault::DeathAfter, Fault::LostReply] {
        for at in 0..counted.writes() {
            let mut world = World::start().await;
            world.import(&earlier()).await;
            let import = world.import(&later()).await;
            world.begin_undo(import.id).await;
            let plan = Plan::new(fault, at);
            plan.survive(world.process(&plan).take_back(import.id, world.deadline()))
                .await;
            world
                .process(&Plan::none())
                .take_back(import.id, world.deadline())
                .await
                .unwrap();
            assert_eq!(world.visible().await, wanted, "{fault:?} at write {at}");
            let record = world
                .process(&Plan::none())
                .store
                .import(import.id)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(record.status, Status::Deleted);
        }
    }
}

#[tokio::test]
async fn two_runs_of_one_import_at_the_same_time_add_its_rows_once() {
    for _ in 0..20 {
        let mut world = World::start().await;
        world.import(&earlier()).await;
        let announced = world.announce(&later()).await;
        let (first, second) = (world.process(&Plan::none()), world.process(&Plan::none()));
        tokio::join!(
            world.run(&first, &announced),
            world.run(&second, &announced)
        );
        let report = first.store.import(announced.0).await.unwrap().unwrap();
        assert_eq!(report.counts.imported, 3);
        let visible = world.visible().await;
        assert_eq!(
            visible.days.values().map(|(_, rows, _)| rows).sum::<i64>(),
            7
        );
    }
}

#[tokio::test]
async fn imports_of_overlapping_files_at_the_same_time_count_nothing_twice() {
    let mut world = World::start().await;
    let mut announced = Vec::new();
    for _ in 0..6 {
        announced.push(world.announce(&later()).await);
    }
    let runs: Vec<_> = announced
        .iter()
        .map(|_| world.process(&Plan::none()))
        .collect();
    let runs = runs
        .iter()
        .zip(&announced)
        .map(|(process, announced)| world.run(process, announced));
    let ended = futures_util::future::join_all(runs).await;
    let imported: u64 = ended
        .iter()
        .map(|outcome| match outcome {
            Outcome::Ended(import) => import.counts.imported,
            other => panic!("every import ends: {other:?}"),
        })
        .sum();
    assert_eq!(imported, 6);
    assert_eq!(
        world
            .visible()
            .await
            .days
            .values()
            .map(|(_, rows, _)| rows)
            .sum::<i64>(),
        6
    );
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_and_that_others_built_upon_stands() {
    let mut world = World::start().await;
    let date = Date::constant(2025, 3, 1);
    let first = world.announce(&file(&[(0, 1, 1, 100)])).await;
    let second = world.announce(&file(&[(0, 2, 1, 100)])).await;
    // Claim, days, state, chunk: the fifth write is the commit, and the SDK sends it again.
    let unlucky = world.process(&Plan::new(Fault::LostReply, 4));
    let other = world.process(&Plan::none());
    let race = async {
        while other.store.day(date).await.unwrap().version == 0 {
            tokio::task::yield_now().await;
        }
        world.run(&other, &second).await
    };
    tokio::join!(world.run(&unlucky, &first), race);
    assert_eq!(world.visible().await.days[&date], ("2".into(), 2, 2));
    assert_eq!(
        world
            .import(&file(&[(0, 1, 1, 100), (0, 2, 1, 100)]))
            .await
            .counts
            .imported,
        0
    );
    assert_eq!(world.visible().await.days[&date], ("2".into(), 2, 2));
}

#[tokio::test]
async fn an_import_stopped_after_every_few_days_counts_as_a_straight_one() {
    let mut world = World::start().await;
    let rows: Vec<_> = (0..31)
        .flat_map(|day| [(day, day, 1, 100), (day, day, 2, 1)])
        .collect();
    world.import(&file(&rows[..20])).await;
    let (id, object) = world.announce(&file(&rows)).await;
    let mut runs = 0;
    let ended = loop {
        runs += 1;
        assert!(runs < 60, "the runs get on");
        let process = Importer {
            memory: 700,
            ..world.process(&Plan::none())
        };
        let deadline = world.clock.now() + SignedDuration::from_secs(60);
        let source = Source::Object(object.clone());
        let run = process.run(id, &source, deadline);
        let clock = world.clock.clone();
        let time = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                clock.advance(SignedDuration::from_secs(2));
            }
        };
        let outcome = tokio::select! {
            outcome = run => outcome,
            () = time => unreachable!("time does not end"),
        };
        if let Ok(Outcome::Ended(import)) = outcome {
            break import;
        }
    };
    assert!(runs > 1, "the time was short at least once");
    assert_eq!(ended.status, Status::Completed);
    assert_eq!((ended.counts.imported, ended.counts.duplicate), (42, 20));
    assert_eq!((ended.rows.done, ended.rows.total), (62, 62));
    assert_eq!(world.visible().await.days.len(), 31);
}

#[tokio::test]
async fn a_small_import_does_not_rewrite_a_day_of_long_rows() {
    let mut world = World::start().await;
    let mut state = 1_u64;
    let mut noise = || {
        let mut letter = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
        };
        (0..1_200).map(&mut letter).collect::<String>()
    };
    for import in 0..10 {
        let mut text = "Sale Date,Sale ID,Item name,Total Paid,Notes\n".to_owned();
        for row in 0..60 {
            writeln!(text, "3/1/2025,S{import}-{row},item,1.00,{}", noise()).unwrap();
        }
        world.import(&text).await;
    }
    let announced = world.announce(&file(&[(0, 1, 1, 100)])).await;
    let process = world.process(&Plan::none());
    world.run(&process, &announced).await;
    let units = process.store.meter().write_halves() / 2;
    assert!(units <= 20, "{units} units for one row");
}

#[tokio::test]
async fn what_a_dead_run_left_is_swept_once_it_is_old_and_never_before() {
    let mut world = World::start().await;
    let date = Date::constant(2025, 3, 1);
    let announced = world.announce(&file(&[(0, 1, 1, 100)])).await;
    // Claim, days, state: the fourth write is the chunk.
    let plan = Plan::new(Fault::DeathAfter, 3);
    let process = world.process(&plan);
    assert!(
        plan.survive(world.run(&process, &announced))
            .await
            .is_none()
    );
    assert_eq!(world.chunks_of(date).await, 1);
    assert_eq!(
        world.visible().await.days.len(),
        0,
        "an unlisted chunk does not exist"
    );

    world.import(&file(&[(0, 2, 1, 100)])).await;
    assert_eq!(
        world.chunks_of(date).await,
        2,
        "the dead run might still be alive"
    );
    world.clock.advance(SignedDuration::from_hours(2));
    world.import(&file(&[(0, 3, 1, 100)])).await;
    assert_eq!(
        world.chunks_of(date).await,
        2,
        "its chunk is gone, the new one is there"
    );
}

#[tokio::test]
async fn a_file_replaced_or_removed_before_its_import_fails_with_that_reason() {
    let mut world = World::start().await;
    let (id, object) = world.announce(&earlier()).await;
    world.objects.put("bucket/imports/1.csv", later());
    let process = world.process(&Plan::none());
    let Outcome::Ended(import) = world.run(&process, &(id, object)).await else {
        panic!("it ends")
    };
    assert_eq!(import.failure.unwrap().code, "file-replaced");
    let (id, mut object) = world.announce(&earlier()).await;
    object.key = "imports/gone.csv".into();
    let Outcome::Ended(import) = world.run(&process, &(id, object)).await else {
        panic!("it ends")
    };
    assert_eq!(import.failure.unwrap().code, "file-missing");
}

#[tokio::test]
async fn days_of_many_small_imports_are_merged_and_each_can_still_be_taken_back() {
    let mut world = World::start().await;
    let date = Date::constant(2025, 3, 1);
    let mut imports = Vec::new();
    for sale in 0..24 {
        imports.push(
            world
                .import(&file(&[(0, sale, 1, 100), (0, sale, 2, 1)]))
                .await
                .id,
        );
    }
    assert!(
        world
            .process(&Plan::none())
            .store
            .day(date)
            .await
            .unwrap()
            .chunks
            .len()
            <= 9
    );
    let all = world.visible().await;
    assert_eq!(all.days[&date], ("24.24".into(), 48, 24));
    world.undo(imports[5]).await;
    let without = world.visible().await;
    assert_eq!(without.days[&date], ("23.23".into(), 46, 23));
    assert!(without.rows[&date].iter().all(|row| !row.contains("S5,")));
}

fn rows() -> impl Strategy<Value = Vec<(u8, u8, u8, i16)>> {
    prop::collection::vec(
        (
            0..4_u8,
            0..4_u8,
            0..2_u8,
            prop::sample::select(vec![-100_i16, 0, 1, 250]),
        ),
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_rehearsal_counts_what_the_import_then_does(first in rows(), second in rows(), memory in 1..9_000_u64, digests in 1..30_u64) {
        run(async {
            let mut world = World::start().await;
            world.import(&file(&first)).await;
            let process = Importer { memory, digests, ..world.process(&Plan::none()) };
            let text = file(&second);
            let id = ImportId::new(ids::uuid_v7(world.clock.now(), [7; 10]));
            let before = world.visible().await;
            let source = Source::Bytes(text.clone().into());
            let report = process.rehearse(id, &source, world.deadline()).await.unwrap().unwrap();
            assert_eq!(world.visible().await, before, "a rehearsal writes nothing");
            let (id, object) = world.announce(&text).await;
            let Outcome::Ended(import) = process.run(id, &Source::Object(object), world.deadline()).await.unwrap() else {
                panic!("the import ends")
            };
            assert_eq!(report.counts, import.counts);
        });
    }

    #[test]
    fn days_taken_in_parts_end_as_days_taken_whole(first in rows(), second in rows(), memory in 1..2_000_u64, digests in 1..20_u64) {
        run(async {
            let (mut whole, mut parts) = (World::start().await, World::start().await);
            for rows in [&first, &second] {
                let wanted = whole.import(&file(rows)).await;
                let (id, object) = parts.announce(&file(rows)).await;
                let process = Importer { memory, digests, ..parts.process(&Plan::none()) };
                let Outcome::Ended(import) = process.run(id, &Source::Object(object), parts.deadline()).await.unwrap() else {
                    panic!("the import ends")
                };
                assert_eq!(import.counts, wanted.counts);
            }
            assert_eq!(parts.visible().await, whole.visible().await);
        });
    }

    #[test]
    fn taking_an_import_back_leaves_what_was_there_before(first in rows(), second in rows(), digests in 1..10_u64) {
        run(async {
            let mut world = World::start().await;
            world.import(&file(&first)).await;
            let before = world.visible().await;
            let import = world.import(&file(&second)).await;
            world.begin_undo(import.id).await;
            let process = Importer { digests, ..world.process(&Plan::none()) };
            process.take_back(import.id, world.deadline()).await.unwrap();
            assert_eq!(world.visible().await, before);
            let again = world.import(&file(&second)).await;
            assert_eq!(again.counts, import.counts);
        });
    }

    #[test]
    fn the_order_and_the_repetition_of_imports_do_not_change_the_revenue(files in prop::collection::vec(rows(), 1..4)) {
        run(async {
            let (mut forth, mut back) = (World::start().await, World::start().await);
            for rows in &files {
                forth.import(&file(rows)).await;
            }
            for rows in files.iter().rev().chain(&files) {
                back.import(&file(rows)).await;
            }
            assert_eq!(forth.visible().await, back.visible().await);
        });
    }
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(work);
}
