//! The members of a JSON object in a body: taken by name, every fault noted, what nobody asked for
//! refused, so that a caller learns everything that is wrong at once.

use serde_json::{Map, Value};

use crate::platform::problem::FieldError;

/// Most faults that are told of one object.
const MOST_ERRORS: usize = 100;

/// An object that is being read.
#[derive(Debug)]
pub struct Members<'b> {
    object: &'b Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'b> Members<'b> {
    /// The members of `value`, which stands at the JSON Pointer `pointer` (empty for a whole body).
    ///
    /// # Errors
    ///
    /// `invalid-value` at `pointer` when `value` is no object.
    pub fn of(value: &'b Value, pointer: &str) -> Result<Self, Vec<FieldError>> {
        let object = value.as_object().ok_or_else(|| {
            let detail = "must be a JSON object";
            vec![FieldError::new(pointer, "invalid-value", detail)]
        })?;
        Ok(Self {
            object,
            pointer: pointer.to_owned(),
            known: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// A member's value; null says the same as nothing.
    pub fn value(&mut self, name: &'static str) -> Option<&'b Value> {
        self.known.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// As [`Members::value`], noting that it is null: for a member whose absence says much.
    pub fn given(&mut self, name: &'static str) -> Option<&'b Value> {
        let value = self.value(name);
        if value.is_none() && self.object.contains_key(name) {
            let detail = format!("{name} must not be null: leave it out");
            self.refuse(name, "invalid-value", detail);
        }
        value
    }

    /// As [`Members::value`], noting that it is missing.
    pub fn required_value(&mut self, name: &'static str) -> Option<&'b Value> {
        let value = self.value(name);
        if value.is_none() {
            self.refuse(name, "missing-field", format!("{name} is required"));
        }
        value
    }

    /// A text of 1 to `most` characters, none of them a control character, without the white space
    /// around it.
    pub fn text(&mut self, name: &'static str, most: usize) -> Option<String> {
        let value = self.value(name)?;
        self.shown(name, value, most)
    }

    /// As [`Members::text`], noting that it is missing.
    pub fn required_text(&mut self, name: &'static str, most: usize) -> Option<String> {
        let value = self.required_value(name)?;
        self.shown(name, value, most)
    }

    fn shown(&mut self, name: &str, value: &Value, most: usize) -> Option<String> {
        let fits = |text: &&str| {
            !text.is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= most
        };
        let text = value.as_str().map(str::trim).filter(fits);
        if text.is_none() {
            let detail =
                format!("{name} must be text without control characters, 1 to {most} characters");
            self.refuse(name, "invalid-value", detail);
        }
        text.map(str::to_owned)
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.refuse(
                name,
                "invalid-value",
                format!("{name} must be true or false"),
            );
        }
        flag
    }

    /// Notes a fault of the member `name`.
    pub fn refuse(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = self.pointer_to(name);
        self.errors.push(FieldError::new(pointer, code, detail));
    }

    /// Notes faults that were found inside a member, with their full pointers.
    pub fn refuse_all(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// The JSON Pointer (RFC 6901) to the member `name`.
    #[must_use]
    pub fn pointer_to(&self, name: &str) -> String {
        let name = name.replace('~', "~0").replace('/', "~1");
        format!("{}/{name}", self.pointer)
    }

    /// What was read, which is `None` only after a fault was noted.
    ///
    /// # Errors
    ///
    /// Every fault noted, and `unknown-field` for each member that was not asked for.
    pub fn finish<T>(mut self, read: Option<T>) -> Result<T, Vec<FieldError>> {
        for name in self.object.keys() {
            if !self.known.contains(&name.as_str()) {
                let pointer = self.pointer_to(name);
                let detail = "there is no such member here";
                self.errors
                    .push(FieldError::new(pointer, "unknown-field", detail));
            }
        }
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                self.errors.truncate(MOST_ERRORS);
                Err(self.errors)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Fault = (String, String);

    fn read(body: &Value) -> Result<(String, Option<bool>), Vec<Fault>> {
        let told = |errors: Vec<FieldError>| {
            let told = |error: FieldError| (error.pointer, error.code.into_owned());
            errors.into_iter().map(told).collect::<Vec<_>>()
        };
        let mut members = Members::of(body, "/items/0").map_err(told)?;
        let name = members.required_text("name", 3);
        let flag = members.flag("flag");
        members.finish(name.map(|name| (name, flag))).map_err(told)
    }

    fn fault(pointer: &str, code: &str) -> Fault {
        (pointer.to_owned(), code.to_owned())
    }

    #[test]
    fn text_is_trimmed_and_null_is_nothing() {
        let body = json!({"name": " äöü\t", "flag": null});
        assert_eq!(read(&body), Ok(("äöü".to_owned(), None)));
    }

    #[test]
    fn every_fault_is_told_at_its_place() {
        let body = json!({"name": "four", "flag": "yes", "a/b~": null});
        let faults = [
            fault("/items/0/name", "invalid-value"),
            fault("/items/0/flag", "invalid-value"),
            fault("/items/0/a~1b~0", "unknown-field"),
        ];
        assert_eq!(read(&body), Err(faults.to_vec()));
        for (body, code) in [
            (json!({}), "missing-field"),
            (json!({"name": null}), "missing-field"),
            (json!({"name": " "}), "invalid-value"),
            (json!({"name": "a\u{0}b"}), "invalid-value"),
            (json!({"name": 1}), "invalid-value"),
        ] {
            assert_eq!(
                read(&body),
                Err(vec![fault("/items/0/name", code)]),
                "{body}"
            );
        }
        assert_eq!(
            read(&json!([])),
            Err(vec![fault("/items/0", "invalid-value")])
        );
    }
}
