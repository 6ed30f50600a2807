//! Health, end to end: public, never cached.

use crate::support::api::{Answer, call};

fn get(path: &str) -> Answer {
    let answer = call("GET", path).send().expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    answer
}

#[test]
fn the_function_lives() {
    for path in ["/health/live", "/health/live/"] {
        assert_eq!(get(path).text(), r#"{"status":"live"}"#);
    }
}

#[test]
fn every_dependency_is_up_and_says_how_long_it_took() {
    for path in ["/health", "/health/", "/health/ready", "/health/ready/"] {
        let report = get(path).json();
        assert_eq!(report["status"], "healthy", "{path}: {report}");
        let checks = report["checks"].as_object().expect("a report has checks");
        let names: Vec<&String> = checks.keys().collect();
        assert_eq!(
            names,
            [
                "commerce-table",
                "import-queue",
                "imports-bucket",
                "readings-queue",
                "sales-table",
                "sensors-table"
            ]
        );
        for check in checks.values() {
            assert_eq!(check["status"], "up");
            assert!(
                check["latency_ms"]
                    .as_u64()
                    .is_some_and(|latency| latency <= 1000),
                "{check}"
            );
            assert_eq!(
                check.as_object().map(serde_json::Map::len),
                Some(2),
                "nothing else is told to the public"
            );
        }
    }
}

#[test]
fn a_token_makes_no_difference() {
    let answer = call("GET", "/health/live").token("nonsense").send();
    assert_eq!(
        (answer.status, answer.text()),
        (200, r#"{"status":"live"}"#)
    );
}
