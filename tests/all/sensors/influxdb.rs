//! `InfluxDB`'s own Python client writes here unmodified.

use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::sensors::{aggregate, device, points, range, stored};
use crate::support::stack::stack;
use crate::support::tree;

#[test]
fn influxdb_s_own_client_writes_unmodified() {
    let id = device();
    // Its clients cannot ask for a backfill.
    let lately = Timestamp::now().as_second() / 3600 - 3;
    let time = |hour: i64| Timestamp::from_second(hour * 3600).expect("it is a time");
    let (start, end) = (time(lately).to_string(), time(lately + 1).to_string());
    let client = Command::new(tree::root().join(".venv/bin/python"))
        .arg(tree::root().join("tests/all/sensors/influxdb.py"))
        .args([&stack().api_url, &stack().device_key, &id])
        .arg((lately * 3600).to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("make venv installs Python and the client");
    assert!(
        client.status.success(),
        "{}",
        String::from_utf8_lossy(&client.stderr)
    );
    let told: Value = serde_json::from_slice(&client.stdout).expect("it says what it was told");
    let batching = &told["batching"];
    assert!(batching["success"].as_u64() >= Some(3), "{batching}");
    assert_eq!(json!([batching["error"], batching["retry"]]), json!([0, 0]));
    for is_gzip in ["False", "True"] {
        let bad = &told[format!("bad line {is_gzip}")];
        assert_eq!((&bad["status"], &bad["line"]), (&json!(400), &json!(2)));
        let message = bad["message"].as_str().expect("the client finds a message");
        assert!(message.contains("line 2"), "{message}");
    }
    let refused = &told["bad key"];
    assert_eq!(
        (&refused["status"], refused["message"].is_string()),
        (&json!(401), true),
        "{refused}"
    );

    // 4 precisions, 3 of a list, 1 record, 1,000 in batches, and 2 beside each bad line.
    let rows = stored(&id, &start, &end, 1012);
    assert_eq!(rows.len(), 1012);
    for metric in ["s", "ms", "us", "ns"] {
        let row = format!("{:.3},{metric},1.5,true,,", time(lately));
        assert!(rows.contains(&row), "{row}");
    }
    aggregate();
    let query = range(&start, &end, "&interval=1hour&metric=batched");
    assert_eq!(
        points(&id, &query, &["count", "min", "max"]),
        [json!([format!("{:.3}", time(lately)), 1000, 0.0, 999.0])]
    );
}
