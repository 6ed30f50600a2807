//! An order as its customer and staff see it: without the payment provider's reference.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use shared::{
    address::model::Address,
    orders::model::{
        CancelReason, Holding, Line, Order, Payment, PaymentStanding, Refund, RefundStanding, Saga,
        Shipment, Shortage, Status, Units,
    },
    platform::{clock::rfc3339, money::Money},
};
use utoipa::ToSchema;

/// The members of an order that may be selected.
pub(super) const FIELDS: &[&str] = &[
    "id",
    "customer_id",
    "status",
    "saga",
    "currency",
    "items.sku",
    "items.product_id",
    "items.name",
    "items.unit_price",
    "items.quantity",
    "items.tax_class",
    "items.tax_rate",
    "items.subtotal",
    "items.tax",
    "items.total",
    "items.refunded_quantity",
    "totals.subtotal",
    "totals.tax",
    "totals.total",
    "shipping_address",
    "billing_address",
    "payment.status",
    "payment.method",
    "payment.captured",
    "payment.refunded",
    "payment.decline_code",
    "refunds",
    "cancellation",
    "shipment",
    "notes",
    "reservation",
    "version",
    "created_at",
    "updated_at",
];

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderView<'o> {
    /// Its number.
    #[schema(example = "ORD-20261120-7K3M9Q2D")]
    id: &'o str,
    /// Who bought.
    customer_id: &'o str,
    /// Where it stands.
    status: Status,
    /// Where the work on it stands.
    saga: Saga,
    /// The currency of every amount in it, ISO 4217.
    #[schema(example = "SGD")]
    currency: &'o str,
    /// What was bought, with everything as it was when the order was placed.
    items: Vec<ItemView<'o>>,
    /// Sums of the items.
    totals: TotalsView,
    /// Where it goes.
    shipping_address: &'o Address,
    /// Who pays, if that is another address.
    billing_address: Option<&'o Address>,
    /// Its payment.
    payment: PaymentView<'o>,
    /// Money given back, or to be.
    refunds: Vec<RefundView<'o>>,
    /// That it is to be cancelled, or was.
    cancellation: Option<CancellationView<'o>>,
    /// How it travels.
    shipment: Option<&'o Shipment>,
    /// What the customer wishes.
    notes: Option<&'o str>,
    /// Its hold on stock.
    reservation: Option<ReservationView>,
    /// Changes so far.
    version: u64,
    /// When it was placed.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What was bought of one sku.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct ItemView<'o> {
    /// Which sku.
    sku: &'o str,
    /// The product it was then.
    product_id: &'o str,
    /// The product's name then.
    name: &'o str,
    /// Price of a unit before tax.
    unit_price: Money,
    /// Units.
    quantity: u32,
    /// The product's tax class then.
    tax_class: &'o str,
    /// The rate that applied: `0.16` is 16 %.
    #[schema(example = "0.16")]
    tax_rate: String,
    /// Price of the units before tax.
    subtotal: Money,
    /// Tax on it.
    tax: Money,
    /// Both.
    total: Money,
    /// Units given back.
    refunded_quantity: u32,
}

/// Sums of an order's items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderTotals)]
struct TotalsView {
    /// Before tax.
    subtotal: Money,
    /// Tax.
    tax: Money,
    /// What is to be paid.
    total: Money,
}

/// An order's payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderPayment)]
struct PaymentView<'o> {
    /// `pending` before the provider knows of it.
    status: PaymentStatus,
    /// How it is paid.
    method: &'o str,
    /// What was taken.
    captured: Money,
    /// What was given back of it.
    refunded: Money,
    /// Why the provider said no.
    decline_code: Option<&'o str>,
}

/// Where an order's payment stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum PaymentStatus {
    /// Nothing is held or taken.
    Pending,
    /// The money is held.
    Authorised,
    /// The money is taken.
    Captured,
    /// The money is let go.
    Voided,
    /// The provider said no.
    Declined,
}

/// Money given back, or to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub(super) struct RefundView<'o> {
    /// Names it within the order.
    refund_id: &'o str,
    /// How far it has come.
    status: RefundStanding,
    /// How much.
    amount: Money,
    /// For which units; none for an amount by itself.
    lines: &'o [Units],
    /// Whether these units are available again once it is done.
    restock: bool,
    /// Why, in the words of who asked.
    reason: Option<&'o str>,
    /// Why the provider said no.
    failure: Option<&'o str>,
    /// When it was asked for.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
}

/// That an order is to be cancelled, or was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cancellation)]
struct CancellationView<'o> {
    /// Why.
    reason: CancelReason,
    /// What was short, where that is the reason.
    shortages: &'o [Shortage],
    /// The words of who asked.
    note: Option<&'o str>,
    /// When it was decided.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// An order's hold on stock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
struct ReservationView {
    /// Where the stock is.
    state: Holding,
    /// When a hold that nothing came of is given up.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

pub(super) fn milliseconds<S: Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

impl<'o> From<&'o Order> for OrderView<'o> {
    fn from(order: &'o Order) -> Self {
        let cancellation = order.cancellation.as_ref();
        Self {
            id: order.id.as_str(),
            customer_id: &order.customer,
            status: order.status,
            saga: order.saga,
            currency: order.currency.code(),
            items: order.lines.iter().map(item).collect(),
            totals: TotalsView {
                subtotal: order.totals.subtotal,
                tax: order.totals.tax,
                total: order.totals.total,
            },
            shipping_address: &order.shipping_address,
            billing_address: order.billing_address.as_ref(),
            payment: payment(order),
            refunds: order.refunds.iter().map(RefundView::from).collect(),
            cancellation: cancellation.map(|cancellation| CancellationView {
                reason: cancellation.reason,
                shortages: &cancellation.shortages,
                note: cancellation.note.as_deref(),
                at: cancellation.at,
            }),
            shipment: order.shipment.as_ref(),
            notes: order.notes.as_deref(),
            reservation: order.reservation.map(|reservation| ReservationView {
                state: reservation.holding,
                expires_at: reservation.expires_at,
            }),
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

fn item(line: &Line) -> ItemView<'_> {
    ItemView {
        sku: line.sku.as_str(),
        product_id: &line.product_id,
        name: &line.name,
        unit_price: line.unit_price,
        quantity: line.quantity,
        tax_class: &line.tax_class,
        tax_rate: line.tax_rate.to_string(),
        subtotal: line.subtotal,
        tax: line.tax,
        total: line.total,
        refunded_quantity: line.refunded,
    }
}

fn payment(order: &Order) -> PaymentView<'_> {
    let payment = order.payment.as_ref();
    let status = match payment.map(|payment| payment.standing) {
        None | Some(PaymentStanding::Opened) => PaymentStatus::Pending,
        Some(PaymentStanding::Authorised) => PaymentStatus::Authorised,
        Some(PaymentStanding::Captured) => PaymentStatus::Captured,
        Some(PaymentStanding::Voided) => PaymentStatus::Voided,
        Some(PaymentStanding::Declined) => PaymentStatus::Declined,
    };
    let amount =
        |of: fn(&Payment) -> Money| payment.map_or(Money::zero(order.currency), of).rounded();
    PaymentView {
        status,
        method: &order.payment_method,
        captured: amount(|payment| payment.captured),
        refunded: amount(|payment| payment.refunded),
        decline_code: payment.and_then(|payment| payment.decline_code.as_deref()),
    }
}

impl<'o> From<&'o Refund> for RefundView<'o> {
    fn from(refund: &'o Refund) -> Self {
        Self {
            refund_id: &refund.refund_id,
            status: refund.standing,
            amount: refund.amount,
            lines: &refund.lines,
            restock: refund.restock,
            reason: refund.reason.as_deref(),
            failure: refund.failure.as_deref(),
            requested_at: refund.requested_at,
        }
    }
}
