//! What imports cost in table units, counted by the database, not estimated.

use std::collections::BTreeMap;

use functions::sales::importer::{Importer, MEMORY, Outcome, Source};
use jiff::{SignedDuration, Timestamp, civil::Date};
use shared::{
    platform::{
        aws::{Connection, http_client},
        clock::Clock,
        ids::Random,
        table::Write,
    },
    sales::{
        files::ImportFiles,
        import::{Import, ImportId, ObjectVersion},
        store::SalesStore,
    },
    testing::{Database, Table},
};
use tests::generate::sales::Plan;

use crate::support::object_store::{ObjectStore, etag};

/// Imports a generated file into an empty table; gives the importer, with its meter, and the report.
async fn import(plan: &Plan) -> (Importer, Import, Database) {
    let database =
        Database::start(&[Table::new("Sales").index("imports", "imports_pk", "imports_sk")]).await;
    let objects = ObjectStore::start().await;
    let mut file = Vec::new();
    plan.write_file(&mut file).unwrap();
    let object = ObjectVersion {
        key: "imports/a.csv".into(),
        etag: etag(&file),
        sequencer: "1".into(),
        size: file.len() as u64,
    };
    objects.put("bucket/imports/a.csv", file);
    let connect = |endpoint: &str| Connection::to_emulator(endpoint, http_client(Some(endpoint)));
    let importer = Importer {
        store: SalesStore::new(connect(database.endpoint()).dynamodb(), "Sales".into()),
        files: ImportFiles::new(connect(objects.endpoint()).s3(), "bucket".into()),
        clock: Clock::fixed(Timestamp::from_second(1_760_000_000).unwrap()),
        random: Random::seeded(1),
        memory: MEMORY,
        digests: Importer::DIGESTS,
    };
    let id = ImportId::of_object(&object, importer.clock.now());
    let pending = Import::pending(
        id,
        object.key.clone(),
        false,
        "test".into(),
        importer.clock.now(),
    );
    assert_eq!(
        importer.store.create_import(&pending).await.unwrap(),
        Write::Done
    );
    let deadline = importer.clock.now() + SignedDuration::from_mins(15);
    let Outcome::Ended(report) = importer
        .run(id, &Source::Object(object), deadline)
        .await
        .unwrap()
    else {
        panic!("the import ends")
    };
    (importer, *report, database)
}

/// The bytes of each day's frames.
async fn frames(importer: &Importer, report: &Import) -> BTreeMap<Date, (i64, usize)> {
    let span = report.days.unwrap();
    let mut days = BTreeMap::new();
    for total in importer.store.totals(span.first, span.last).await.unwrap() {
        let mut bytes = 0;
        importer
            .store
            .visit_chunks(total.date, |_, frame| {
                bytes += frame.len();
                Ok(())
            })
            .await
            .unwrap();
        days.insert(total.date, (total.rows, bytes));
    }
    days
}

#[tokio::test]
async fn a_day_of_2740_rows_takes_at_most_nine_bytes_a_row_and_27_write_units() {
    let plan = Plan {
        days: 10,
        bad_rows: 0,
        ..Plan::new(27_400, 3)
    };
    let (importer, report, _database) = import(&plan).await;
    for (date, (rows, bytes)) in frames(&importer, &report).await {
        let bytes = i64::try_from(bytes).unwrap();
        assert!(bytes <= rows * 9, "{date}: {bytes} bytes for {rows} rows");
    }
    assert!(importer.store.meter().write_halves() <= 10 * 27 * 2);
}

#[tokio::test]
async fn a_day_of_30_rows_takes_two_write_units() {
    let plan = Plan {
        days: 100,
        bad_rows: 0,
        ..Plan::new(3_000, 4)
    };
    let (importer, report, _database) = import(&plan).await;
    let mut allowed = 12; // The import's own record.
    for (date, (rows, bytes)) in frames(&importer, &report).await {
        // 64 bytes are those of the item's names and keys; one more unit is the day's totals.
        let units = 1 + (bytes + 64).div_ceil(1024);
        assert!(
            units <= if rows <= 30 { 2 } else { 3 },
            "{date}: {bytes} bytes for {rows} rows"
        );
        allowed += units as u64;
    }
    let written = importer.store.meter().write_halves() / 2;
    assert!(
        written <= allowed,
        "{written} units written, {allowed} allowed"
    );
}

#[tokio::test]
async fn a_year_of_revenue_is_one_query_page_and_ten_years_are_ten() {
    let plan = Plan {
        days: 366,
        bad_rows: 0,
        ..Plan::new(3_660, 5)
    };
    let (importer, report, _database) = import(&plan).await;
    let span = report.days.unwrap();
    let before = importer.store.meter().read_halves();
    let days = importer.store.totals(span.first, span.last).await.unwrap();
    assert!(days.len() >= 365);
    // A page is at most 1 MB, or 256 units when read consistently; this is far below one.
    assert!(importer.store.meter().read_halves() - before <= 2 * 64);
}
