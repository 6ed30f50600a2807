//! The words of a notification, from its kind's template. A template has the blocks `subject`, `text`
//! and `html`, and `sms` where the kind is for phones. Everything is escaped as HTML but where a
//! template says otherwise, so one that forgets to say shows odd characters and lets nothing in.

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, value::Serde};

use super::model::{Facts, Kind};

/// What somebody is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The e-mail's subject: one line.
    pub subject: String,
    /// The e-mail as plain text.
    pub text: String,
    /// The e-mail as HTML.
    pub html: String,
    /// The text message; empty where the kind is not for phones.
    pub sms: String,
}

/// A template that cannot be filled in: a bug.
#[derive(Debug, thiserror::Error)]
#[error("template of {kind} cannot be filled in")]
pub struct TemplateError {
    /// Whose template.
    pub kind: Kind,
    #[source]
    source: Error,
}

macro_rules! template {
    ($name:literal) => {
        ($name, include_str!(concat!("templates/", $name, ".jinja")))
    };
}

const TEMPLATES: [(&str, &str); 8] = [
    template!("layout"),
    template!("lines"),
    template!("order-confirmed"),
    template!("order-cancelled"),
    template!("order-shipped"),
    template!("order-delivered"),
    template!("order-refunded"),
    template!("new-order"),
];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, Error>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(
        minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
});

impl Message {
    /// Tells `facts` as a notification of `kind` does.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] never with the templates as they are: the tests fill in each.
    pub fn new(kind: Kind, facts: &Facts) -> Result<Self, TemplateError> {
        Self::render(kind, facts).map_err(|source| TemplateError { kind, source })
    }

    fn render(kind: Kind, facts: &Facts) -> Result<Self, Error> {
        let environment = ENVIRONMENT
            .as_ref()
            .map_err(|error| Error::new(error.kind(), error.to_string()))?;
        let template = environment.get_template(kind.as_str())?;
        let mut filled = template.render_captured(Serde(facts))?;
        filled.with_state_mut(|state| {
            let mut block = |name| state.render_block(name);
            Ok(Self {
                subject: block("subject")?,
                text: block("text")?,
                html: block("html")?,
                sms: block("sms")?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notifications::model::FactsLine;

    fn facts() -> Facts {
        let line = |name: &str, quantity, total: &str| FactsLine {
            name: name.into(),
            quantity,
            total: total.into(),
        };
        Facts {
            order: "ORD-20261120-7K3M9Q2D".into(),
            name: Some("Jane".into()),
            lines: vec![
                line("Tea <green> & black", 2, "23.20 SGD"),
                line("Cup", 1, "11.68 SGD"),
            ],
            subtotal: "30.07 SGD".into(),
            tax: "4.81 SGD".into(),
            total: "34.88 SGD".into(),
            reason: Some("out-of-stock".into()),
            carrier: Some("Swift & Sons".into()),
            tracking_number: Some("SW123".into()),
            refund: Some("11.68 SGD".into()),
        }
    }

    fn message(kind: Kind) -> Message {
        Message::new(kind, &facts()).unwrap()
    }

    fn shown(kind: Kind) -> String {
        let Message {
            subject,
            text,
            html,
            sms,
        } = message(kind);
        let body = html
            .find("<p>")
            .and_then(|at| html.get(at..))
            .unwrap_or_default();
        format!("{subject}\n[{sms}]\n\n{text}\n---\n{body}")
    }

    #[test]
    fn a_confirmation_lists_what_was_bought() {
        insta::assert_snapshot!(shown(Kind::OrderConfirmed), @r#"
        Your order ORD-20261120-7K3M9Q2D is confirmed
        []

        Hello Jane,

        Your order ORD-20261120-7K3M9Q2D is confirmed:

        2 x Tea <green> & black: 23.20 SGD
        1 x Cup: 11.68 SGD

        Subtotal: 30.07 SGD
        Tax: 4.81 SGD
        Total: 34.88 SGD

        Thank you for shopping with us.

        ---
        <p>Hello Jane,</p>
        <p>Your order <b>ORD-20261120-7K3M9Q2D</b> is confirmed:</p>
        <table cellpadding="4">
        <tr><td>2 &times; Tea &lt;green&gt; &amp; black</td><td align="right">23.20 SGD</td></tr>
        <tr><td>1 &times; Cup</td><td align="right">11.68 SGD</td></tr>
        <tr><td>Subtotal</td><td align="right">30.07 SGD</td></tr>
        <tr><td>Tax</td><td align="right">4.81 SGD</td></tr>
        <tr><th align="left">Total</th><th align="right">34.88 SGD</th></tr>
        </table>
        <p>Thank you for shopping with us.</p>
        </body>
        </html>
        "#);
    }

    #[test]
    fn a_cancellation_says_why() {
        insta::assert_snapshot!(shown(Kind::OrderCancelled), @r#"
        Your order ORD-20261120-7K3M9Q2D is cancelled
        []

        Hello Jane,

        Your order ORD-20261120-7K3M9Q2D is cancelled, because some of what you ordered is out of stock.
        You will not be charged for it; what you have paid already is given back.

        We are sorry for the trouble.

        ---
        <p>Hello Jane,</p>
        <p>Your order <b>ORD-20261120-7K3M9Q2D</b> is cancelled, because some of what you ordered is out of stock.</p>
        <p>You will not be charged for it; what you have paid already is given back.</p>
        <p>We are sorry for the trouble.</p>
        </body>
        </html>
        "#);
        for reason in [
            "customer",
            "staff",
            "payment-declined",
            "capture-failed",
            "expired",
            "failed",
        ] {
            let facts = Facts {
                reason: Some(reason.into()),
                ..facts()
            };
            let text = Message::new(Kind::OrderCancelled, &facts).unwrap().text;
            let is_said = text.contains(", as you") || text.contains(", because");
            assert!(is_said && !text.contains("out of stock"), "{text}");
        }
    }

    #[test]
    fn a_shipment_says_who_carries_it() {
        insta::assert_snapshot!(shown(Kind::OrderShipped), @r#"
        Your order ORD-20261120-7K3M9Q2D is on its way
        [Your order ORD-20261120-7K3M9Q2D is on its way with Swift & Sons, tracking number SW123.]

        Hello Jane,

        Your order ORD-20261120-7K3M9Q2D is on its way with Swift & Sons, tracking number SW123.

        Thank you for shopping with us.

        ---
        <p>Hello Jane,</p>
        <p>Your order <b>ORD-20261120-7K3M9Q2D</b> is on its way with Swift &amp; Sons, tracking number SW123.</p>
        <p>Thank you for shopping with us.</p>
        </body>
        </html>
        "#);
        let bare = Facts {
            name: None,
            carrier: None,
            tracking_number: None,
            ..facts()
        };
        let message = Message::new(Kind::OrderShipped, &bare).unwrap();
        assert_eq!(
            message.sms,
            "Your order ORD-20261120-7K3M9Q2D is on its way."
        );
        assert!(message.text.starts_with("Hello,\n"), "{}", message.text);
    }

    #[test]
    fn a_delivery_is_told() {
        insta::assert_snapshot!(shown(Kind::OrderDelivered), @r#"
        Your order ORD-20261120-7K3M9Q2D was delivered
        [Your order ORD-20261120-7K3M9Q2D was delivered.]

        Hello Jane,

        Your order ORD-20261120-7K3M9Q2D was delivered. We hope that you like it.

        Thank you for shopping with us.

        ---
        <p>Hello Jane,</p>
        <p>Your order <b>ORD-20261120-7K3M9Q2D</b> was delivered. We hope that you like it.</p>
        <p>Thank you for shopping with us.</p>
        </body>
        </html>
        "#);
    }

    #[test]
    fn a_refund_says_how_much() {
        insta::assert_snapshot!(shown(Kind::OrderRefunded), @r#"
        A refund for your order ORD-20261120-7K3M9Q2D
        []

        Hello Jane,

        We have given back 11.68 SGD of your order ORD-20261120-7K3M9Q2D.
        It may take your bank a few days to show it.

        Thank you for shopping with us.

        ---
        <p>Hello Jane,</p>
        <p>We have given back <b>11.68 SGD</b> of your order <b>ORD-20261120-7K3M9Q2D</b>.
        It may take your bank a few days to show it.</p>
        <p>Thank you for shopping with us.</p>
        </body>
        </html>
        "#);
    }

    #[test]
    fn staff_are_told_what_was_bought_and_not_by_whom() {
        insta::assert_snapshot!(shown(Kind::NewOrder), @r#"
        New order ORD-20261120-7K3M9Q2D, 34.88 SGD
        []

        There is a new order, ORD-20261120-7K3M9Q2D:

        2 x Tea <green> & black: 23.20 SGD
        1 x Cup: 11.68 SGD

        Subtotal: 30.07 SGD
        Tax: 4.81 SGD
        Total: 34.88 SGD

        Nothing is asked of you: its stock and payment are being seen to.

        ---
        <p>There is a new order, <b>ORD-20261120-7K3M9Q2D</b>:</p>
        <table cellpadding="4">
        <tr><td>2 &times; Tea &lt;green&gt; &amp; black</td><td align="right">23.20 SGD</td></tr>
        <tr><td>1 &times; Cup</td><td align="right">11.68 SGD</td></tr>
        <tr><td>Subtotal</td><td align="right">30.07 SGD</td></tr>
        <tr><td>Tax</td><td align="right">4.81 SGD</td></tr>
        <tr><th align="left">Total</th><th align="right">34.88 SGD</th></tr>
        </table>
        <p>Nothing is asked of you: its stock and payment are being seen to.</p>
        </body>
        </html>
        "#);
    }

    #[test]
    fn only_what_is_for_phones_has_a_text_message_and_it_fits_one() {
        for kind in Kind::ALL {
            let sms = message(kind).sms;
            assert_eq!(!sms.is_empty(), kind.is_for_phones(), "{kind}: {sms}");
            assert!(sms.len() <= 140, "{kind}: {sms}");
        }
    }

    #[test]
    fn the_html_is_a_whole_document() {
        let html = message(Kind::OrderDelivered).html;
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"));
        assert!(html.contains("<title>Your order ORD-20261120-7K3M9Q2D was delivered</title>"));
        assert!(html.ends_with("</html>\n"), "{html}");
    }

    proptest! {
        /// Names of customers, products and carriers are anybody's words.
        #[test]
        fn no_words_of_others_become_html(words in "[a-z<>&\"'{}% /]{1,40}", kind in prop::sample::select(Kind::ALL.to_vec())) {
            let mut named = facts();
            named.name = Some(words.clone());
            named.carrier = Some(words.clone());
            named.tracking_number = Some(words.clone());
            named.lines[0].name.clone_from(&words);
            let said = Message::new(kind, &named).unwrap();
            let tags = |html: &str| html.matches('<').count();
            prop_assert_eq!(tags(&said.html), tags(&message(kind).html));
            prop_assert_eq!(said.subject.lines().count(), 1);
            if kind == Kind::OrderConfirmed {
                prop_assert!(said.text.contains(&words));
            }
        }
    }
}
