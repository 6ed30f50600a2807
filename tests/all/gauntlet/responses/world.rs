//! Something of each kind that a path of the API names.

use serde_json::{Map, Value, json};

use crate::support::api::{Role, call};
use crate::support::people::another_customer;
use crate::support::sensors::{JSON, device, new_key};
use crate::support::stack::unique;

/// What there is for the operations to be about.
#[derive(Debug)]
pub(super) struct World {
    /// The ID token of the customer whose all of this is.
    pub(super) customer: String,
    /// A device that takes readings.
    pub(super) device: String,
    /// A sku that can be bought.
    pub(super) sku: String,
    key: String,
    category: String,
    product: String,
    address: String,
    order: String,
    import: String,
}

fn made(path: &str, token: Option<&str>, body: &Value) -> Value {
    let call = call("POST", path).header("Idempotency-Key", &unique());
    let call = match token {
        Some(token) => call.token(token),
        None => call.role(Role::Admin),
    };
    let answer = call.body(JSON, body.to_string()).send();
    assert!(
        [201, 202].contains(&answer.status),
        "{path}: {}",
        answer.text()
    );
    answer.json()
}

fn text(thing: &Value, name: &str) -> String {
    thing[name]
        .as_str()
        .expect("what is made has a name")
        .to_owned()
}

impl World {
    /// Makes one of each.
    pub(super) fn make() -> Self {
        let customer = another_customer();
        let place = json!({"recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"});
        let mut address = place.clone();
        address["type"] = "shipping".into();
        let address = made("/api/customers/me/addresses", Some(&customer), &address);
        let category = made("/api/catalog/categories", None, &json!({"name": unique()}));
        let sku = unique();
        let price = json!({"amount": "1.00", "currency": "SGD"});
        let product = json!({"sku": sku, "name": "Rope", "price": price});
        let product = made("/api/catalog/products", None, &product);
        let order = json!({"items": [{"sku": sku, "quantity": 1}], "shipping_address": place,
            "payment_method": "sandbox-approve"});
        Self {
            device: device(),
            key: text(&new_key(&["*"]).json(), "id"),
            category: text(&category, "id"),
            product: text(&product, "id"),
            address: text(&address, "address_id"),
            order: text(&made("/api/orders", Some(&customer), &order), "id"),
            import: text(&made("/api/sales/imports", None, &json!({})), "id"),
            customer,
            sku,
        }
    }

    /// What stands for what `path` leaves open.
    pub(super) fn id(&self, path: &str) -> &str {
        let kinds = [
            ("/api/sales/imports/", &self.import),
            ("/api/sensors/devices/", &self.device),
            ("/api/sensors/keys/", &self.key),
            ("/api/catalog/categories/", &self.category),
            ("/api/catalog/products/", &self.product),
            ("/api/catalog/stock/", &self.sku),
            ("/api/customers/me/addresses/", &self.address),
            ("/api/orders/", &self.order),
        ];
        let kind = kinds.iter().find(|(prefix, _)| path.starts_with(prefix));
        kind.unwrap_or_else(|| panic!("{path}: what is it about?"))
            .1
    }

    /// Members of bodies that have to name what there is, or nothing that there is yet.
    pub(super) fn given(&self, operation: &str) -> Map<String, Value> {
        let fresh = ["createProduct", "createDevice"].contains(&operation);
        let named = |there: &str| if fresh { unique() } else { there.to_owned() };
        let given = json!({
            "sku": named(&self.sku),
            "device_id": named(&self.device),
            "name": unique(),
            "price": {"amount": "2.00", "currency": "SGD"},
            "parent_id": null,
            "timestamp": "2026-01-01T00:00:00Z",
            "start": "2026-01-01T00:00:00Z",
            "end": "2026-01-01T01:00:00Z",
            "metadata": {},
        });
        given.as_object().cloned().unwrap_or_default()
    }
}
