//! The sensor API and the device keys: what administrators ask for, again and again.

use std::{cell::RefCell, sync::Arc};

use axum::Router;
use functions::sensors::{
    api,
    context::{Context, Recent},
    keys,
    usage_plan::UsagePlan,
};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    platform::{
        caller::{Caller, Group},
        config::{CursorKey, DeviceUsagePlan, RawRetention},
        idempotency::Idempotency,
    },
    sensors::{device::store::DeviceStore, key::store::KeyStore, store::SensorStore},
};

use super::{
    driver::{Delivery, Report, Scenario, block_on},
    outside::USAGE_PLAN,
    sensors::{Plant, TABLE},
    state::{State, text_of},
    trigger::{Answer, Ask},
};
use crate::support::faults::Plan;

const DEVICES: &str = "/api/sensors/devices";
const PUMP: &str = "/api/sensors/devices/pump";
const KEYS: &str = "/api/sensors/keys";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Create,
    Revive,
    Replace,
    Update,
    Delete,
    Recompute,
    CreateKey,
    RevokeKey,
}

impl Route {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Revive,
        Self::Replace,
        Self::Update,
        Self::Delete,
        Self::Recompute,
        Self::CreateKey,
        Self::RevokeKey,
    ];
}

struct Asked {
    plant: Plant,
    ask: RefCell<Ask>,
    answer: RefCell<Option<Answer>>,
}

fn admin() -> Caller {
    Caller::new("root", [Group::Admin])
}

fn pump(name: &str) -> Value {
    json!({"device_id": "pump", "name": name, "type": "custom"})
}

fn site(plant: &Plant, plan: &Arc<Plan>, path: &str) -> Router {
    let (client, name) = (plant.client(plan), || TABLE.to_owned());
    let cursors = CursorKey::new([1; 32]).expect("it is long enough");
    if path.starts_with(KEYS) {
        return keys::router(keys::Context {
            keys: KeyStore::new(client, name()),
            plan: UsagePlan {
                client: plant.outside.connection(plan).apigateway(),
                name: DeviceUsagePlan::new(USAGE_PLAN),
            },
            cursors,
            clock: plant.clock.clone(),
            random: plant.random(),
        });
    }
    api::router(Context {
        devices: DeviceStore::new(client.clone(), name()),
        store: SensorStore::new(client.clone(), name()),
        retention: RawRetention::new(90).expect("it is not too long"),
        clock: plant.clock.clone(),
        random: plant.random(),
        cursors,
        idempotency: Idempotency::new(client, name(), plant.leases.clone(), plant.random()),
        recent: Recent::new(&plant.clock),
    })
}

async fn ask(plant: &Plant, ask: &Ask) -> Answer {
    let answer = ask
        .of(site(plant, &Plan::none(), &ask.path), &plant.clock)
        .await;
    assert!(answer.status < 300, "{ask:?}: {answer:?}");
    answer
}

impl Scenario for Route {
    type World = Asked;

    fn name(&self) -> String {
        let route = match self {
            Self::Create => "sensor-api, POST devices",
            Self::Revive => "sensor-api, POST devices of a deleted one",
            Self::Replace => "sensor-api, PUT devices/{id}",
            Self::Update => "sensor-api, PATCH devices/{id}",
            Self::Delete => "sensor-api, DELETE devices/{id}",
            Self::Recompute => "sensor-api, POST recompute",
            Self::CreateKey => "sensor-keys, POST keys",
            Self::RevokeKey => "sensor-keys, DELETE keys/{id}",
        };
        route.to_owned()
    }

    fn most(&self) -> u32 {
        10
    }

    async fn world(&self) -> Asked {
        let plant = Plant::start().await;
        let create = Ask::post(admin(), DEVICES, &pump("Pump"));
        if !matches!(self, Self::Create) {
            ask(&plant, &create).await;
        }
        let on = |method| Ask::new(admin(), method, PUMP).matching("\"v1\"");
        let key = Ask::post(admin(), KEYS, &json!({"name": "Line 4", "devices": ["*"]}));
        let asked = match self {
            Self::Create => create.once(),
            Self::Revive => {
                ask(&plant, &on(Method::DELETE)).await;
                create.once()
            }
            Self::Replace => on(Method::PUT).json(&pump("Other")),
            Self::Update => on(Method::PATCH).json(&json!({"name": "Other"})),
            Self::Delete => on(Method::DELETE),
            Self::Recompute => {
                let range = json!({"start": "2026-11-20T10:00:00Z", "end": "2026-11-20T12:00:00Z"});
                Ask::post(admin(), format!("{PUMP}/aggregates/recompute"), &range)
            }
            Self::CreateKey => key,
            Self::RevokeKey => {
                let id = ask(&plant, &key).await.id();
                let revoke = Ask::new(admin(), Method::DELETE, format!("{KEYS}/{id}"));
                revoke.matching("\"v2\"")
            }
        };
        Asked {
            plant,
            ask: RefCell::new(asked),
            answer: RefCell::default(),
        }
    }

    async fn deliver(&self, world: &Asked, plan: &Arc<Plan>, _: u32) -> Delivery {
        let ask = world.ask.borrow().clone();
        let router = site(&world.plant, plan, &ask.path);
        let answer = ask.of(router, &world.plant.clock).await;
        let delivery = answer.delivery();
        // Whose first call was done looks, and finds it so; of a key they remove the other copy too.
        let is_stale = answer.status == 412;
        *world.answer.borrow_mut() = Some(answer);
        if is_stale && *self == Self::RevokeKey {
            *world.ask.borrow_mut() = ask.matching("*");
            return Delivery::Again;
        }
        delivery
    }

    async fn wait(&self, world: &Asked) {
        world.plant.leases.advance(SignedDuration::from_secs(31));
    }

    /// Who got no answer to making a key deletes the half that the list shows.
    async fn finish(&self, world: &Asked) {
        let plant = &world.plant;
        if *self == Self::CreateKey {
            let made = world.answer.borrow().as_ref().map(Answer::id);
            let list = ask(plant, &Ask::new(admin(), Method::GET, KEYS)).await;
            for key in list.body["data"].as_array().expect("it is a list") {
                let id = key["id"].as_str().expect("a key has a name");
                if made.as_deref() != Some(id) {
                    let revoke = Ask::new(admin(), Method::DELETE, format!("{KEYS}/{id}"));
                    ask(plant, &revoke.matching("*")).await;
                }
            }
        }
        if *self == Self::Recompute {
            plant.settle().await;
        }
    }

    async fn state(&self, world: &Asked, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        let answer = world.answer.borrow().clone().expect("it was answered");
        if matches!(self, Self::Create | Self::Revive) {
            // The same key is given the same answer.
            state.add(format!("answered {}: {}", answer.status, answer.body));
        }
        let edit = |item: &mut serde_json::Map<String, Value>| {
            // A key that was half made stays listed as revoked.
            if *self == Self::CreateKey && text_of(item, "status") == "revoked" {
                item.clear();
            }
            // What a key is, and API Gateway's name for it, are another's every time.
            if *self == Self::CreateKey {
                item.remove("hash");
                item.remove("gateway_id");
            }
        };
        state.add_table(&world.plant.database, TABLE, edit).await;
        for (_, name, is_in_plan) in &world.plant.outside.books().keys {
            state.add(format!("API Gateway: {name} {is_in_plan}"));
        }
        state
    }
}

#[test]
fn the_sensor_apis_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for route in Route::ALL {
            report.play(&route).await;
        }
        report.tell("the sensor APIs");
    });
}
