use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use shared::{
    platform::aws::Connection,
    testing::{InlineDatabase, Table},
};

use super::*;

async fn world(seed: u64) -> (Arc<Chaos>, Client, Clock) {
    let clock = Clock::fixed(Timestamp::from_second(1_760_000_000).unwrap());
    let chaos = Chaos::start("chaos", seed, &clock);
    let table = Table::new("Things").index("by-other", "by_pk", "by_sk");
    let database = InlineDatabase::with(&[table]).await;
    let http = chaos.over(database.http());
    let client = Connection::to_emulator("http://inline.invalid", http).dynamodb();
    (chaos, client, clock)
}

async fn put(client: &Client, n: u32) -> bool {
    let text = |value: String| AttributeValue::S(value);
    let put = client.put_item().table_name("Things");
    let put = put
        .item("pk", text("A".into()))
        .item("sk", text(n.to_string()));
    let put = put
        .item("by_pk", text("B".into()))
        .item("by_sk", text(n.to_string()));
    put.send().await.is_ok()
}

/// The sort keys that are stored.
async fn stored(client: &Client, index: bool) -> Vec<String> {
    let (name, condition) = if index {
        (Some("by-other".to_owned()), "by_pk = :b")
    } else {
        (None, "pk = :b")
    };
    let partition = AttributeValue::S(if index { "B" } else { "A" }.to_owned());
    let found = client.query().table_name("Things").set_index_name(name);
    let found = found
        .key_condition_expression(condition)
        .expression_attribute_values(":b", partition)
        .send();
    let items = found.await.unwrap().items.unwrap_or_default();
    let keys = items.iter().map(|item| item["sk"].as_s().unwrap().clone());
    keys.collect()
}

#[test]
fn faults_are_met_and_what_was_answered_well_is_stored() {
    paused(async {
        let (chaos, client, clock) = world(1).await;
        let began = clock.now();
        let mut well = Vec::new();
        for n in 0..300 {
            if chaos.invoke("SalesImport", |_| put(&client, n)).await {
                well.push(n.to_string());
            }
        }
        let found = stored(&client, false).await;
        assert!(well.iter().all(|key| found.contains(key)));
        assert!(well.len() < 300, "a conflict is not tried again by the SDK");
        let marks = chaos.marks();
        let met = |fault| marks.met[&("PutItem".to_owned(), fault)];
        assert!(met(Fault::Hang) > 0 && met(Fault::Conflict) > 0);
        assert!(marks.attempts > marks.calls && marks.calls == 300);
        let longest = marks.runs["SalesImport"].longest;
        assert!(longest > Duration::from_secs(5), "a hang takes its timeout");
        assert!(clock.now().duration_since(began) > SignedDuration::from_secs(5));
    });
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let run = |seed| {
        paused(async {
            let (chaos, client, _) = world(seed).await;
            for n in 0..60 {
                chaos.invoke("SalesImport", |_| put(&client, n)).await;
            }
            chaos.marks().met.clone()
        })
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn what_takes_longer_than_lambda_lets_it_is_found_out() {
    let late = std::panic::catch_unwind(|| {
        paused(async {
            let (chaos, ..) = world(1).await;
            let minutes = Duration::from_mins(16);
            chaos.invoke("SalesImport", |_| sleep(minutes)).await;
        });
    });
    let message = *late.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("GAUNTLET_SEED=1"), "{message}");
}

#[test]
fn a_stale_index_answers_as_it_was_and_catches_up() {
    paused(async {
        let (chaos, client, clock) = world(1).await;
        let table = Table::new("Things").index("by-other", "by_pk", "by_sk");
        chaos.lag_behind(&InlineDatabase::with(&[table]).await);
        assert!(put(&client, 1).await);
        let random = Random::seeded(3);
        let stale = || {
            let body = serde_json::json!({
                "TableName": "Things", "IndexName": "by-other", "KeyConditionExpression": "by_pk = :b",
                "ExpressionAttributeValues": {":b": {"S": "B"}},
            });
            let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
            request.set_method("POST").unwrap();
            for (name, value) in [
                ("x-amz-target", "DynamoDB_20120810.Query"),
                ("content-type", "application/x-amz-json-1.0"),
                (
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=test/20261120/us-east-1/dynamodb/aws4_request, \
                    SignedHeaders=host, Signature=0",
                ),
                ("x-amz-date", "20261120T000000Z"),
            ] {
                request.headers_mut().insert(name, value);
            }
            let answer = chaos.stale(&request, &random).unwrap();
            let body: Value = serde_json::from_slice(answer.body().bytes().unwrap()).unwrap();
            body["Count"].as_u64().unwrap_or_else(|| panic!("{body}"))
        };
        assert_eq!(stale(), 0);
        assert_eq!(stored(&client, true).await, ["1"]);
        clock.advance(SignedDuration::from_secs(4));
        assert_eq!(stale(), 1);
    });
}
