//! The sales API: files that come with a request, announced imports, and imports that are taken back.

use std::{cell::RefCell, sync::Arc};

use functions::sales::api::router;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use shared::platform::caller::{Caller, Group};
use tokio::sync::OnceCell;

use super::{
    driver::{Delivery, Report, Scenario, block_on},
    sales::{Checkpoint, Sales, forget_run, later},
    state::{State, text_of},
    trigger::{Answer, Ask},
};
use crate::support::faults::Plan;

const IMPORTS: &str = "/api/sales/imports";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    ImportSales,
    Announce,
    TakeBack,
}

/// Sales, what is asked of their API, and the last answer.
struct Asked {
    sales: Sales,
    ask: Ask,
    answer: RefCell<Option<Answer>>,
}

fn admin() -> Caller {
    Caller::new("root", [Group::Admin])
}

struct Request(Route, OnceCell<(Checkpoint, Ask)>);

impl Request {
    async fn begin(&self) -> (Checkpoint, Ask) {
        let sales = Sales::start().await;
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"later.csv\"\r\n\r\n{}\r\n--b--\r\n",
            later()
        );
        let post = Ask::new(admin(), Method::POST, "/api/sales/import-sales").once();
        let post = post.body("multipart/form-data; boundary=b", form);
        let ask = match self.0 {
            Route::ImportSales => post,
            Route::Announce => Ask::post(admin(), IMPORTS, &json!({})).once(),
            Route::TakeBack => {
                let imported = post
                    .of(router(sales.api(&Plan::none())), &sales.clock)
                    .await;
                assert_eq!(imported.status, 201, "{imported:?}");
                sales.outside.take("/imports");
                let list = Ask::new(admin(), Method::GET, IMPORTS);
                let list = list
                    .of(router(sales.api(&Plan::none())), &sales.clock)
                    .await;
                let imports = list.body["data"].as_array().expect("it is a list");
                let is_direct = |id: &&str| {
                    sales
                        .objects
                        .get(&format!("bucket/direct/{id}.csv"))
                        .is_some()
                };
                let ids = imports.iter().filter_map(|import| import["id"].as_str());
                let id = ids
                    .into_iter()
                    .find(|id| is_direct(id))
                    .expect("it is listed");
                Ask::new(admin(), Method::DELETE, format!("{IMPORTS}/{id}")).matching("*")
            }
        };
        (sales.checkpoint().await, ask)
    }
}

impl Scenario for Request {
    type World = Asked;

    fn name(&self) -> String {
        let route = match self.0 {
            Route::ImportSales => "POST import-sales",
            Route::Announce => "POST imports",
            Route::TakeBack => "DELETE imports/{id}",
        };
        format!("sales-api, {route}")
    }

    /// Callers are patient.
    fn most(&self) -> u32 {
        10
    }

    async fn world(&self) -> Asked {
        let (checkpoint, ask) = self.1.get_or_init(|| self.begin()).await;
        let (sales, ask) = (Sales::of(checkpoint).await, ask.clone());
        Asked {
            sales,
            ask,
            answer: RefCell::default(),
        }
    }

    async fn deliver(&self, world: &Asked, plan: &Arc<Plan>, _: u32) -> Delivery {
        let router = router(world.sales.api(plan));
        let answer = world.ask.of(router, &world.sales.clock).await;
        let delivery = answer.delivery();
        *world.answer.borrow_mut() = Some(answer);
        delivery
    }

    async fn wait(&self, world: &Asked) {
        world.sales.leases.advance(SignedDuration::from_secs(31));
    }

    /// Whatever became of the request, the queue's task sees through what it began.
    async fn finish(&self, world: &Asked) {
        world.sales.work_off().await;
    }

    async fn state(&self, world: &Asked, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        let status = world.answer.borrow().as_ref().map(|answer| answer.status);
        let status = status.expect("it was answered");
        state.add(format!("answered {status}"));
        // A request that is made again is another import of the same file: it adds what the first did not, which
        // the queue sees through. So neither how many rows each added nor its answer is told, only that all
        // imports end. What a form is signed with depends on the import's name.
        let is_again = self.0 == Route::ImportSales;
        let edit = |item: &mut Map<String, Value>| {
            let is_direct = text_of(item, "object_key").starts_with("direct/");
            let is_part = ["ERRORS", "DAYS"].contains(&text_of(item, "sk"));
            item.remove("data");
            forget_run(item);
            if self.0 == Route::TakeBack {
                item.remove("updated_at");
            }
            if is_again && (is_direct || is_part) {
                let status = text_of(item, "status");
                let is_open = ["pending", "validating", "importing"].contains(&status);
                assert!(!is_open, "every import ends: {item:?}");
                item.clear();
            }
        };
        world.sales.add_table(&mut state, edit).await;
        for path in world.sales.objects.paths() {
            if !is_again || path.contains("imports/") {
                let bytes = world.sales.objects.get(&path).expect("it is listed");
                state.add(format!("{path}: {}", String::from_utf8_lossy(&bytes)));
            }
        }
        state
    }
}

#[test]
fn the_sales_api_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for route in [Route::ImportSales, Route::Announce, Route::TakeBack] {
            report.play(&Request(route, OnceCell::new())).await;
        }
        report.tell("sales-api");
    });
}
