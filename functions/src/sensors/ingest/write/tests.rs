use serde_json::{Value, json};

use crate::sensors::ingest::testing::{Answer, NOW, World};

#[tokio::test]
async fn lines_that_are_all_good_are_answered_without_a_word() {
    let world = World::new().await;
    let (status, answer) = world.write(format!("m,device_id=a t=1,u=2i {NOW}\n")).await;
    assert_eq!((status, answer), (204, Value::Null));
    assert_eq!(
        world.queued(),
        [format!("a t {NOW} 1"), format!("a u {NOW} 2")]
    );
}

#[tokio::test]
async fn good_lines_are_kept_and_the_first_bad_one_is_named() {
    let world = World::new().await;
    let (status, answer) = world
        .write("# c\nm,device_id=a t=1\nm,device_id=a t=\nm,device_id=new t=2\n")
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        (&answer["code"], &answer["line"]),
        (&json!("invalid"), &json!(3))
    );
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with("partial write: 1 readings accepted, 2 refused; line 3: "),
        "{message}"
    );
    assert_eq!(world.queued(), [format!("a t {NOW} 1")]);
}

#[tokio::test]
async fn every_refusal_is_in_the_words_of_influxdb() {
    let world = World::new().await;
    let write = "/api/v2/write?org=o&bucket=b";
    let all = Some(World::ALL);
    let line = "m,device_id=b t=1";
    for (key, target, kind, body, expected) in [
        (None, write, "", line, (401, "unauthorized")),
        (Some(World::REVOKED), write, "", line, (401, "unauthorized")),
        (Some(World::ONLY_A), write, "", line, (403, "forbidden")),
        (all, write, "", "m,device_id=new t=1", (404, "not found")),
        (all, write, "", "m,device_id=off t=1", (404, "not found")),
        (all, write, "", "", (400, "invalid")),
        (all, write, "", "m t=1", (400, "invalid")),
        (all, "/api/v2/write?precision=h", "", line, (400, "invalid")),
        (
            all,
            write,
            "application/json",
            line,
            (415, "unsupported media type"),
        ),
        (
            all,
            write,
            "",
            &" ".repeat(5 << 20),
            (413, "request too large"),
        ),
    ] {
        let headers = [("content-type", kind)];
        let (status, headers, answer) = world.send(key, target, &headers, body.to_owned()).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), expected);
        assert!(!answer["message"].as_str().unwrap().is_empty());
        assert_eq!(headers["x-platform-error-code"], expected.1);
        let members = answer.as_object().unwrap().keys();
        assert!(
            members
                .into_iter()
                .all(|name| ["code", "message", "line"].contains(&name.as_str()))
        );
    }
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn what_tools_send_that_were_told_no_type_is_taken() {
    for kind in [
        "",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ] {
        let world = World::new().await;
        let headers = [("content-type", kind), ("content-encoding", "identity")];
        let target = "/api/v2/write?orgID=1&bucketID=2&consistency=any";
        let body = "m,device_id=a t=1";
        let (status, ..) = world.send(Some(World::ALL), target, &headers, body).await;
        assert_eq!(status, 204, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_queue_the_client_is_told_to_come_back() {
    let world = World::with_queue(|_, _| Answer::Down).await;
    let target = "/api/v2/write?org=o&bucket=b";
    let (status, headers, answer) = world
        .send(Some(World::ALL), target, &[], "m,device_id=a t=1")
        .await;
    assert_eq!((status, &answer["code"]), (503, &json!("unavailable")));
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
}
