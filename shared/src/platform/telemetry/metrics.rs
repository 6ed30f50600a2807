//! Metrics in the embedded metric format (EMF): log lines that `CloudWatch` turns into metrics.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::log::service;
use crate::platform::config;

/// Metrics that one EMF object may define.
const MAX_METRICS: usize = 100;
/// Values that one metric may have in an EMF object.
const MAX_VALUES: usize = 100;

/// A unit of `CloudWatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A time.
    Milliseconds,
    /// A longer time.
    Seconds,
    /// A size.
    Bytes,
    /// A share, 0 to 100.
    Percent,
    /// A bare number.
    None,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
            Self::Bytes => "Bytes",
            Self::Percent => "Percent",
            Self::None => "None",
        }
    }
}

/// Collects the values of one invocation and writes them in one go. The only dimension is
/// `service`: every further one multiplies metrics, and their price.
#[derive(Clone, Debug)]
pub struct Metrics {
    namespace: String,
    service: String,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: &'static str,
    unit: Unit,
    values: Vec<f64>,
}

impl Metrics {
    /// A collector for `POWERTOOLS_METRICS_NAMESPACE` (default `Millrace`) and
    /// `POWERTOOLS_SERVICE_NAME`.
    #[must_use]
    pub fn from_env() -> Self {
        let namespace = config::optional("POWERTOOLS_METRICS_NAMESPACE");
        Self::new(
            namespace.unwrap_or_else(|| "Millrace".to_owned()),
            service(),
        )
    }

    /// A collector for the given namespace and service.
    pub fn new(namespace: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            service: service.into(),
            series: Vec::new(),
        }
    }

    /// Adds a value to the metric `name`. A metric keeps the unit of its first value; a value that is
    /// not finite is left out, for `CloudWatch` would refuse the whole object.
    pub fn put(&mut self, name: &'static str, unit: Unit, value: f64) {
        if !value.is_finite() {
            return;
        }
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.values.push(value),
            None => self.series.push(Series {
                name,
                unit,
                values: vec![value],
            }),
        }
    }

    /// Adds `by` to the count `name`.
    pub fn count(&mut self, name: &'static str, by: u32) {
        self.put(name, Unit::Count, by.into());
    }

    /// Writes what was collected to stdout, stamped `at`, and starts over.
    pub fn flush(&mut self, at: Timestamp) {
        let lines = self.render(at);
        self.series.clear();
        let mut output = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            output.push_str(&line);
            output.push('\n');
        }
        // As with a log line: there is nowhere to complain, and the work goes on without it.
        let _ = std::io::stdout().write_all(output.as_bytes());
    }

    /// The EMF objects that say what was collected, split so that none exceeds the format's limits of
    /// 100 metrics and 100 values a metric.
    #[must_use]
    pub fn render(&self, at: Timestamp) -> Vec<String> {
        let rounds = self
            .series
            .iter()
            .map(|series| series.values.len().div_ceil(MAX_VALUES))
            .max()
            .unwrap_or(0);
        (0..rounds)
            .flat_map(|round| {
                let parts: Vec<(&Series, &[f64])> = self
                    .series
                    .iter()
                    .filter_map(|series| {
                        Some((series, series.values.chunks(MAX_VALUES).nth(round)?))
                    })
                    .collect();
                parts
                    .chunks(MAX_METRICS)
                    .map(|parts| self.object(parts, at))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn object(&self, parts: &[(&Series, &[f64])], at: Timestamp) -> String {
        let definitions: Vec<Value> = parts
            .iter()
            .map(|(series, _)| json!({"Name": series.name, "Unit": series.unit.name()}))
            .collect();
        let mut object = Map::new();
        object.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": at.as_millisecond(),
                "CloudWatchMetrics": [{
                    "Namespace": self.namespace,
                    "Dimensions": [["service"]],
                    "Metrics": definitions,
                }],
            }),
        );
        object.insert("service".to_owned(), self.service.as_str().into());
        for (series, values) in parts {
            let value = match values {
                [single] => json!(single),
                several => json!(several),
            };
            object.insert(series.name.to_owned(), value);
        }
        Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new("Millrace", "sales-import")
    }

    #[test]
    fn an_object_has_the_shape_cloudwatch_reads() {
        let mut metrics = metrics();
        metrics.count("RowsImported", 1661);
        metrics.put("Latency", Unit::Milliseconds, 12.5);
        metrics.put("Latency", Unit::Milliseconds, 3.0);
        metrics.put("Latency", Unit::Milliseconds, f64::NAN);
        let at = Timestamp::from_millisecond(1_795_190_400_123).unwrap();
        let objects = metrics.render(at);
        assert_eq!(objects.len(), 1);
        let object: Value = serde_json::from_str(&objects[0]).unwrap();
        insta::assert_json_snapshot!(object, @r#"
        {
          "Latency": [
            12.5,
            3.0
          ],
          "RowsImported": 1661.0,
          "_aws": {
            "CloudWatchMetrics": [
              {
                "Dimensions": [
                  [
                    "service"
                  ]
                ],
                "Metrics": [
                  {
                    "Name": "RowsImported",
                    "Unit": "Count"
                  },
                  {
                    "Name": "Latency",
                    "Unit": "Milliseconds"
                  }
                ],
                "Namespace": "Millrace"
              }
            ],
            "Timestamp": 1795190400123
          },
          "service": "sales-import"
        }
        "#);
    }

    #[test]
    fn nothing_collected_writes_nothing() {
        assert!(metrics().render(Timestamp::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn many_values_are_split_and_none_is_lost() {
        let mut metrics = metrics();
        for value in 0..250_u32 {
            metrics.put("Rows", Unit::Count, value.into());
        }
        metrics.count("Files", 1);
        let objects: Vec<Value> = metrics
            .render(Timestamp::UNIX_EPOCH)
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        let lengths: Vec<usize> = objects
            .iter()
            .map(|object| object["Rows"].as_array().unwrap().len())
            .collect();
        assert_eq!(lengths, [100, 100, 50]);
        let with_files = objects.iter().filter(|o| o.get("Files").is_some());
        assert_eq!(with_files.count(), 1);
    }
}
