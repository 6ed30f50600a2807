//! The import function: files in the bucket, tasks on its queue, and what is taken back.

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use functions::sales::{
    context::Context,
    import::{self, HandlerError},
    importer::{Importer, MEMORY},
    queue::TaskQueue,
};
use jiff::SignedDuration;
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};
use shared::{
    platform::{
        aws::{Connection, http_client},
        batch,
        clock::Clock,
        config::{CursorKey, ImportQueue},
        idempotency::Idempotency,
        ids::Random,
        upload_form::UploadSigner,
    },
    sales::{
        chunk::StoredRows,
        files::ImportFiles,
        import::{Import, ImportId, ObjectVersion, Status},
        store::SalesStore,
    },
    testing::{Database, Table},
};

use tokio::sync::OnceCell;

use super::{
    driver::{Delivery, Report, Scenario, block_on},
    outside::Outside,
    state::{Item, State, covered, dump, restore, text_of},
    trigger::{Messages, context},
};
use crate::support::{
    faults::{Fault, Plan},
    gauntlet::{seed, sized},
    object_store::{ObjectStore, etag},
    tree,
};

const TABLE: &str = "Sales";
const QUEUE: &str = "http://services.invalid/imports";
const DEAD_LETTERS: &str = "http://services.invalid/dead-imports";

/// The tables and services of sales.
pub(super) struct Sales {
    pub(super) database: Database,
    pub(super) objects: ObjectStore,
    pub(super) outside: Outside,
    pub(super) clock: Clock,
    /// The time by which claims run out.
    pub(super) leases: Clock,
    processes: Cell<u64>,
    puts: Cell<u64>,
}

/// Where sales once were.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoint {
    items: Vec<Item>,
    objects: Vec<(String, Bytes)>,
    processes: u64,
    puts: u64,
}

impl Sales {
    /// Sales as they were.
    pub(super) async fn of(checkpoint: &Checkpoint) -> Self {
        let table = Table::new(TABLE).index("imports", "imports_pk", "imports_sk");
        let now = "2026-11-20T12:00:00Z".parse().expect("it is a time");
        let sales = Self {
            database: Database::start(&[table]).await,
            objects: ObjectStore::start().await,
            outside: Outside::default(),
            clock: Clock::fixed(now),
            leases: Clock::fixed(now),
            processes: Cell::new(checkpoint.processes),
            puts: Cell::new(checkpoint.puts),
        };
        restore(&sales.database.client(), TABLE, &checkpoint.items).await;
        for (path, bytes) in &checkpoint.objects {
            sales.objects.put(path, bytes.clone());
        }
        sales
    }

    /// Sales with one file imported.
    pub(super) async fn start() -> Self {
        let sales = Self::of(&Checkpoint::default()).await;
        let (event, _) = sales.put("imports/earlier.csv", &earlier());
        let handled = sales.handle(&Plan::none(), event).await;
        handled.expect("it is imported");
        sales
    }

    pub(super) async fn checkpoint(&self) -> Checkpoint {
        let object = |path: String| {
            let bytes = self.objects.get(&path);
            (path, bytes.expect("it is listed"))
        };
        Checkpoint {
            items: dump(&self.database.client(), TABLE).await,
            objects: self.objects.paths().into_iter().map(object).collect(),
            processes: self.processes.get(),
            puts: self.puts.get(),
        }
    }

    /// Randomness of a process of its own.
    fn random(&self) -> Random {
        self.processes.set(self.processes.get() + 1);
        Random::seeded(seed() ^ (self.processes.get() << 40))
    }

    fn table(&self, plan: &Arc<Plan>) -> Connection {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        Connection::to_emulator(self.database.endpoint(), http)
    }

    pub(super) fn importer(&self, plan: &Arc<Plan>) -> Importer {
        let endpoint = self.objects.endpoint();
        let s3 = Connection::to_emulator(endpoint, plan.over(http_client(Some(endpoint)))).s3();
        Importer {
            store: SalesStore::new(self.table(plan).dynamodb(), TABLE.to_owned()),
            files: ImportFiles::new(s3, "bucket".to_owned()),
            clock: self.clock.clone(),
            random: self.random(),
            memory: MEMORY,
            digests: Importer::DIGESTS,
        }
    }

    fn queue(&self, plan: &Arc<Plan>) -> TaskQueue {
        TaskQueue {
            client: self.outside.connection(plan).sqs(),
            queue: ImportQueue::new(QUEUE),
        }
    }

    /// What the API works with.
    pub(super) fn api(&self, plan: &Arc<Plan>) -> Context {
        let client = self.table(plan).dynamodb();
        let (leases, random) = (self.leases.clone(), self.random());
        Context {
            importer: self.importer(plan),
            queue: self.queue(plan),
            signer: UploadSigner::for_emulator(self.objects.endpoint()),
            cursors: CursorKey::new([1; 32]).expect("it is long enough"),
            idempotency: Idempotency::new(client, TABLE, leases, random),
        }
    }

    /// Has a process of its own handle an event.
    async fn handle(&self, plan: &Arc<Plan>, event: Value) -> Result<Value, HandlerError> {
        let queue = self.queue(plan);
        let function = import::Context {
            importer: self.importer(plan),
            failed: batch::Queues {
                sqs: queue.client.clone(),
                queue_url: QUEUE.to_owned(),
                dead_letter_url: DEAD_LETTERS.to_owned(),
            },
            queue,
        };
        let event = LambdaEvent::new(event, context(&self.clock));
        Box::pin(import::handle(&function, event)).await
    }

    /// Puts a file into the bucket: the event of it, and the object.
    pub(super) fn put(&self, key: &str, file: &str) -> (Value, ObjectVersion) {
        self.puts.set(self.puts.get() + 1);
        self.objects.put(&format!("bucket/{key}"), file.to_owned());
        let object = ObjectVersion {
            key: key.to_owned(),
            etag: etag(file.as_bytes()),
            sequencer: format!("{:016X}", self.puts.get()),
            size: file.len() as u64,
        };
        let event = tree::source("events/sales/s3-object-created.json");
        let mut event: Value = serde_json::from_str(&event).expect("it is an event");
        event["Records"][0]["eventTime"] = json!(self.clock.now());
        event["Records"][0]["s3"]["object"] = json!({
            "key": key, "size": object.size, "eTag": object.etag, "sequencer": object.sequencer,
        });
        (event, object)
    }

    /// Makes a record of an import of `object`.
    async fn announce(&self, object: &ObjectVersion) -> ImportId {
        let now = self.clock.now();
        let id = ImportId::of_object(object, now);
        let mut import = Import::pending(id, object.key.clone(), false, "c-1".to_owned(), now);
        import.object = Some(object.clone());
        let store = self.importer(&Plan::none()).store;
        store
            .create_import(&import)
            .await
            .expect("the table takes it");
        id
    }

    /// Hands out the tasks on the queue until there are none.
    pub(super) async fn work_off(&self) {
        self.clock.advance(SignedDuration::from_secs(61));
        for nth in 1..6 {
            let tasks = Messages::new(self.outside.take("/imports"));
            let event: Value = tasks.event(nth);
            if event["Records"][0].is_null() {
                return;
            }
            let handled = self.handle(&Plan::none(), event).await;
            let response = handled.expect("messages fail one by one");
            let response = serde_json::from_value(response).expect("it says which failed");
            assert_eq!(tasks.settle(&response), Delivery::Done);
        }
        panic!("the queue is never empty");
    }

    /// The table as `edit` leaves its items, but for chunks that no manifest lists, which do not exist. A chunk
    /// is told by its rows: its name is its run's and a number among those that the run wrote, and within it
    /// stands the name of its import.
    pub(super) async fn add_table(
        &self,
        state: &mut State,
        edit: impl Fn(&mut Map<String, Value>),
    ) {
        let items = dump(&self.database.client(), TABLE).await;
        let manifests = items
            .iter()
            .filter_map(|item| item.get("chunks")?.as_m().ok());
        let listed: BTreeSet<_> = manifests
            .flat_map(|chunks| chunks.keys().cloned())
            .collect();
        let edit = |item: &mut Map<String, Value>| {
            edit(item);
            if let Some(chunk) = text_of(item, "sk").strip_prefix("CHUNK#") {
                if !listed.contains(chunk) {
                    item.clear();
                    return;
                }
                item.insert("frame".to_owned(), rows(text_of(item, "frame")));
                item.remove("sk");
            }
            if let Some(Value::Object(chunks)) = item.get("chunks") {
                let mut parts: Vec<_> = chunks.values().cloned().collect();
                parts.sort_by_key(|parts| covered(&parts.to_string(), false));
                item.insert("chunks".to_owned(), json!(parts));
            }
        };
        state.add_table(&self.database, TABLE, edit).await;
    }

    /// The objects that there are.
    pub(super) fn add_objects(&self, state: &mut State) {
        for path in self.objects.paths() {
            let bytes = self.objects.get(&path).expect("it is listed");
            state.add(format!("{path}: {}", String::from_utf8_lossy(&bytes)));
        }
    }
}

/// Each run that takes an import up writes its name, until when it may live, and one more version.
pub(super) fn forget_run(item: &mut Map<String, Value>) {
    if text_of(item, "pk").starts_with("IMPORT#") {
        for name in ["attempt", "active_until", "version"] {
            item.remove(name);
        }
    }
}

/// The rows of a chunk.
fn rows(frame: &str) -> Value {
    let frame = BASE64_STANDARD.decode(frame).expect("it is of bytes");
    let rows = StoredRows::decode(&frame).expect("a chunk can be read");
    rows.iter()
        .map(|row| format!("{} #{}", row.cells.join(","), row.ordinal))
        .collect()
}

const HEADER: &str = "Sale Date,Sale ID,Item name,Total Paid\n";

fn earlier() -> String {
    format!("{HEADER}3/1/2025,S1,tea,1.00\n3/1/2025,S1,tea,1.00\n3/2/2025,S2,cup,2.50\n")
}

/// Overlaps the earlier file, repeats a row, has days of its own, and one bad row.
pub(super) fn later() -> String {
    let days = (4..4 + sized(1, 12)).map(|day| format!("3/{day}/2025,S{day},pot,9.99\n"));
    format!(
        "{HEADER}3/1/2025,S1,tea,1.00\n3/1/2025,S1,tea,1.00\n3/1/2025,S1,tea,1.00\n\
         3/2/2025,S3,cup,0.01\n{}3/1/2025,S1,tea,not money\n",
        days.collect::<String>()
    )
}

/// What brings the function to an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bringer {
    Event,
    Task,
    Undo,
}

struct ImportFunction(Bringer, OnceCell<(Checkpoint, Value, Vec<String>)>);

/// Sales, and what is delivered: an event, or messages.
struct Brought {
    sales: Sales,
    event: Value,
    messages: Messages,
}

impl ImportFunction {
    async fn begin(&self) -> (Checkpoint, Value, Vec<String>) {
        let sales = Sales::start().await;
        let (event, object) = sales.put("imports/later.csv", &later());
        let mut tasks = Vec::new();
        if self.0 != Bringer::Event {
            let id = sales.announce(&object).await;
            let mut action = "import";
            if self.0 == Bringer::Undo {
                sales
                    .handle(&Plan::none(), event.clone())
                    .await
                    .expect("it is imported");
                let store = sales.importer(&Plan::none()).store;
                let found = store.import(id).await.expect("the table answers");
                let mut import = found.expect("it is there");
                (import.status, import.next_day) = (Status::Deleting, None);
                import.version += 1;
                let saved = store.save_import(&import, import.version - 1).await;
                saved.expect("the table takes it");
                action = "take-back";
            }
            tasks.push(json!({"action": action, "import": id}).to_string());
        }
        (sales.checkpoint().await, event, tasks)
    }
}

impl Scenario for ImportFunction {
    type World = Brought;

    fn name(&self) -> String {
        let brought = match self.0 {
            Bringer::Event => "event of the bucket",
            Bringer::Task => "task to import",
            Bringer::Undo => "task to take back",
        };
        format!("sales-import, {brought}")
    }

    /// S3's events are tried three times, the queue's messages five times.
    fn most(&self) -> u32 {
        if self.0 == Bringer::Event { 3 } else { 5 }
    }

    async fn world(&self) -> Brought {
        let begun = self.1.get_or_init(|| self.begin()).await;
        let (checkpoint, event, tasks) = begun;
        Brought {
            sales: Sales::of(checkpoint).await,
            event: event.clone(),
            messages: Messages::new(tasks.clone()),
        }
    }

    async fn deliver(&self, world: &Brought, plan: &Arc<Plan>, nth: u32) -> Delivery {
        if self.0 == Bringer::Event {
            let handled = world.sales.handle(plan, world.event.clone()).await;
            return Delivery::done(handled.is_ok());
        }
        let event = world.messages.event(nth);
        let handled = world.sales.handle(plan, event).await;
        let response = serde_json::from_value(handled.expect("messages fail one by one"));
        world
            .messages
            .settle(&response.expect("it says which failed"))
    }

    async fn state(&self, world: &Brought, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        world.sales.add_table(&mut state, forget_run).await;
        world.sales.add_objects(&mut state);
        assert!(
            world.sales.outside.books().messages.is_empty(),
            "nothing is left over"
        );
        state
    }
}

#[test]
fn the_import_function_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for bringer in [Bringer::Event, Bringer::Task, Bringer::Undo] {
            let function = ImportFunction(bringer, OnceCell::new());
            report.play(&function).await;
        }
        report.tell("sales-import");
    });
}

#[tokio::test]
async fn an_import_is_gone_on_with_although_the_run_that_took_it_over_dies() {
    let sales = Sales::start().await;
    let (_, object) = sales.put("imports/later.csv", &later());
    let id = sales.announce(&object).await;
    let task = json!({"action": "import", "import": id}).to_string();
    let event: Value = Messages::new(vec![task]).event(1);
    let (held, dead) = (Plan::new(Fault::Held, 1), Plan::new(Fault::DeathAfter, 0));
    let overtaken = async {
        held.held().await;
        let died = dead.survive(sales.handle(&dead, event.clone())).await;
        assert!(died.is_none(), "it dies when it has taken the import over");
        held.let_go();
    };
    let (ended, ()) = tokio::join!(sales.handle(&held, event.clone()), overtaken);
    let ended = ended.expect("messages fail one by one");
    assert_eq!(
        ended,
        json!({"batchItemFailures": []}),
        "the message is gone"
    );
    sales.work_off().await;
    let store = sales.importer(&Plan::none()).store;
    let import = store.import(id).await.expect("the table answers");
    let status = import.expect("it is there").status;
    assert_eq!(status, Status::CompletedWithErrors);
}
