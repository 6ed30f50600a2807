//! An embedded `DynamoDB`, and other services as functions, behind the real SDK clients, for the tests
//! of every package.

use std::{sync::Arc, thread};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use dynoxide::errors::DynoxideError;
use tokio::sync::oneshot;

use crate::platform::aws::{Connection, http_client};

/// A database in memory, serving on a loopback port of its own until it is dropped.
///
/// It runs on a thread and runtime of its own, so a test may pause its own time.
#[derive(Debug)]
pub struct Database {
    endpoint: String,
    client: Client,
    _stop: oneshot::Sender<()>,
}

/// What a table looks like: `pk` and `sk` (text), TTL attribute `expiration`, and indexes.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    indexes: Vec<Index>,
}

#[derive(Clone, Debug)]
struct Index {
    name: String,
    partition: String,
    sort: String,
    projection: ProjectionType,
}

impl Table {
    /// A table without indexes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            indexes: Vec::new(),
        }
    }

    /// Adds a global index with text keys that projects all attributes.
    #[must_use]
    pub fn index(
        mut self,
        name: impl Into<String>,
        partition: impl Into<String>,
        sort: impl Into<String>,
    ) -> Self {
        self.indexes.push(Index {
            name: name.into(),
            partition: partition.into(),
            sort: sort.into(),
            projection: ProjectionType::All,
        });
        self
    }

    /// As [`Table::index`], projecting keys only.
    #[must_use]
    pub fn keys_index(
        self,
        name: impl Into<String>,
        partition: impl Into<String>,
        sort: impl Into<String>,
    ) -> Self {
        let mut table = self.index(name, partition, sort);
        if let Some(index) = table.indexes.last_mut() {
            index.projection = ProjectionType::KeysOnly;
        }
        table
    }
}

impl Database {
    /// Starts a database with `tables`.
    ///
    /// # Panics
    /// When the database or a table cannot be made: a test cannot go on without.
    pub async fn start(tables: &[Table]) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                    .await
                    .expect("a loopback port is free");
                let address = listener
                    .local_addr()
                    .expect("a bound socket has an address");
                let database = dynoxide::Database::memory().expect("a database opens in memory");
                if ready.send(address).is_ok() {
                    let serving = dynoxide::server::serve_on(listener, database);
                    tokio::select! {
                        () = serving => {}
                        _ = stopped => {}
                    }
                }
            });
        });
        let endpoint = format!("http://{}", address.await.expect("the database starts"));
        let client =
            Connection::to_emulator(endpoint.as_str(), http_client(Some(&endpoint))).dynamodb();
        for table in tables {
            create(&client, table).await;
        }
        Self {
            endpoint,
            client,
            _stop: stop,
        }
    }

    /// The SDK's client for this database.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the database listens, for a client with another HTTP connector.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// A database in memory that answers on its caller's thread: there is nothing to wait for, so that time
/// which a test holds stays where it is, and the same calls come in the same order.
#[derive(Clone)]
pub struct InlineDatabase(Arc<dynoxide::Database>);

impl std::fmt::Debug for InlineDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InlineDatabase")
    }
}

impl InlineDatabase {
    /// A database with `tables`.
    ///
    /// # Panics
    /// When the database or a table cannot be made: a test cannot go on without.
    pub async fn with(tables: &[Table]) -> Self {
        let database = dynoxide::Database::memory().expect("a database opens in memory");
        let inline = Self(Arc::new(database));
        let client = Connection::to_emulator("http://inline.invalid", inline.http()).dynamodb();
        for table in tables {
            create(&client, table).await;
        }
        inline
    }

    /// The database for the SDK to talk to.
    #[must_use]
    pub fn http(&self) -> SharedHttpClient {
        let connector = self.connector();
        http_client_fn(move |_, _| connector.clone())
    }

    /// What carries requests to the database.
    ///
    /// # Panics
    /// As [`InlineDatabase::answer`], when it is called.
    #[must_use]
    pub fn connector(&self) -> SharedHttpConnector {
        let inline = self.clone();
        let answer = move |request: http::Request<SdkBody>| {
            let target = request.headers().get("x-amz-target");
            let target = target.and_then(|target| target.to_str().ok());
            let operation = target.and_then(|target| target.rsplit('.').next());
            let body = request.body().bytes().unwrap_or_default();
            let (status, body) = inline.answer(operation.unwrap_or_default(), body);
            let response = http::Response::builder().status(status);
            response.body(body).expect("status and body are fine")
        };
        SharedHttpConnector::new(Answering(Arc::new(answer)))
    }

    /// Status and body of the answer to a call of `operation`, both bodies being JSON.
    ///
    /// # Panics
    /// When the operation is none of those that stores and their tests ask for.
    #[must_use]
    pub fn answer(&self, operation: &str, body: &[u8]) -> (u16, String) {
        let done = operate(&self.0, operation, body);
        done.unwrap_or_else(|error| (error.status_code(), error.to_json()))
    }
}

fn operate(
    database: &dynoxide::Database,
    operation: &str,
    body: &[u8],
) -> Result<(u16, String), DynoxideError> {
    match operation {
        "CreateTable" => inline(body, |asked| database.create_table(asked)),
        "UpdateTimeToLive" => inline(body, |asked| database.update_time_to_live(asked)),
        "GetItem" => inline(body, |asked| database.get_item(asked)),
        "PutItem" => inline(body, |asked| database.put_item(asked)),
        "UpdateItem" => inline(body, |asked| database.update_item(asked)),
        "DeleteItem" => inline(body, |asked| database.delete_item(asked)),
        "Query" => inline(body, |asked| database.query(asked)),
        "BatchGetItem" => inline(body, |asked| database.batch_get_item(asked)),
        "BatchWriteItem" => inline(body, |asked| database.batch_write_item(asked)),
        "TransactWriteItems" => inline(body, |asked| database.transact_write_items(asked)),
        other => panic!("{other} is not asked of tables"),
    }
}

fn inline<Q: serde::de::DeserializeOwned, A: serde::Serialize>(
    body: &[u8],
    run: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<(u16, String), DynoxideError> {
    let asked = serde_json::from_slice(body).expect("the SDK writes JSON");
    let answer = run(asked)?;
    Ok((200, serde_json::to_string(&answer).expect("it is JSON")))
}

/// An HTTP client whose answers are those of a function: a service for the SDK to talk to. The body
/// of a request is in memory.
///
/// # Panics
/// When a request or an answer is no HTTP: a test cannot go on without.
pub fn answering(
    answer: impl Fn(http::Request<SdkBody>) -> http::Response<String> + Send + Sync + 'static,
) -> SharedHttpClient {
    SharedHttpClient::new(Answering(Arc::new(answer)))
}

type Answer = dyn Fn(http::Request<SdkBody>) -> http::Response<String> + Send + Sync;

#[derive(Clone)]
struct Answering(Arc<Answer>);

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

impl HttpClient for Answering {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Answering {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = request.try_into_http1x().expect("the SDK speaks HTTP");
        let answer = (self.0)(request).map(SdkBody::from);
        let answer = HttpResponse::try_from(answer).expect("the answer is HTTP");
        HttpConnectorFuture::ready(Ok(answer))
    }
}

async fn create(client: &Client, table: &Table) {
    let attributes = table
        .indexes
        .iter()
        .flat_map(|index| [index.partition.as_str(), index.sort.as_str()])
        .chain(["pk", "sk"])
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .map(attribute)
        .collect();
    let indexes: Vec<GlobalSecondaryIndex> = table
        .indexes
        .iter()
        .map(|index| {
            let projection = Projection::builder()
                .projection_type(index.projection.clone())
                .build();
            GlobalSecondaryIndex::builder()
                .index_name(&index.name)
                .set_key_schema(Some(keys(&index.partition, &index.sort)))
                .projection(projection)
                .build()
                .expect("name and keys are set")
        })
        .collect();
    client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .set_key_schema(Some(keys("pk", "sk")))
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .send()
        .await
        .expect("the table is made");
    let expiration = TimeToLiveSpecification::builder()
        .attribute_name("expiration")
        .enabled(true)
        .build()
        .expect("attribute and switch are set");
    client
        .update_time_to_live()
        .table_name(&table.name)
        .time_to_live_specification(expiration)
        .send()
        .await
        .expect("expiry is switched on");
}

fn attribute(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .expect("name and type are set")
}

fn keys(partition: &str, sort: &str) -> Vec<KeySchemaElement> {
    [(partition, KeyType::Hash), (sort, KeyType::Range)]
        .into_iter()
        .map(|(name, kind)| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .expect("name and type are set")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    #[tokio::test]
    async fn what_is_put_is_found_by_key_and_by_index() {
        let database =
            Database::start(&[Table::new("Things").index("by-other", "by_pk", "by_sk")]).await;
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let client = database.client();
        client
            .put_item()
            .table_name("Things")
            .item("pk", text("A"))
            .item("sk", text("1"))
            .item("by_pk", text("B"))
            .item("by_sk", text("2"))
            .send()
            .await
            .unwrap();
        let found = client
            .query()
            .table_name("Things")
            .index_name("by-other")
            .key_condition_expression("by_pk = :b")
            .expression_attribute_values(":b", text("B"))
            .send()
            .await
            .unwrap();
        assert_eq!(found.items()[0]["pk"], text("A"));
    }
}
