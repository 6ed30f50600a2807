//! Readings out of nothing but a seed: thermometers of invented rooms, as they send them, and what
//! must come of it.
//!
//! Every value is a function of the seed, the device and the sample's index, so a batch is made
//! when it is sent, and sent again it is the same. What is expected is folded from the distinct
//! readings in order of time, never from what was sent.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

/// What every device measures.
pub const METRIC: &str = "temperature";

/// The unit it measures in.
pub const UNIT: &str = "Cel";

/// Which readings to make, and how they are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of devices.
    pub devices: u32,
    /// The time of the first sample, in milliseconds of Unix time.
    pub start_ms: i64,
    /// How long samples are taken for.
    pub seconds: u32,
    /// The time from one sample to the next, at least one second.
    pub every_seconds: u32,
    /// The time that a batch covers, at least that of one sample.
    pub batch_seconds: u32,
    /// Equal seeds give equal readings.
    pub seed: u64,
    /// The share of batches that come up to three hours late, 0 to 1.
    pub late_share: f64,
    /// The share of batches that come twice, 0 to 1.
    pub duplicate_share: f64,
}

/// Readings of one device that are sent together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The device.
    pub device_id: String,
    /// When it arrives, in milliseconds after [`Plan::start_ms`].
    pub arrives_after_ms: i64,
    /// Times in milliseconds of Unix time and values, in no order when it is late.
    pub readings: Vec<(i64, f64)>,
}

/// What the distinct readings of one device in one stretch of time come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fold {
    /// The values in order of time.
    pub values: Vec<f64>,
    /// Their sum in hundredths, exact.
    pub sum_hundredths: i64,
}

impl Fold {
    fn add(&mut self, value: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "values are below 10,000")]
        let hundredths = (value * 100.0).round() as i64;
        self.sum_hundredths += hundredths;
        self.values.push(value);
    }

    /// The smallest value; infinite if there is none.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest value; infinite if there is none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// The value that a share of the values, 0 to 1, is not above: the nearest rank. NaN if there
    /// is none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no stretch holds 2^53 samples, and a share of a length is an index"
        )]
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    }

    fn to_json(&self, start_ms: i64) -> Value {
        json!({
            "start": rfc3339(start_ms),
            "count": self.values.len(),
            "sum_hundredths": self.sum_hundredths,
            "min": self.min(),
            "max": self.max(),
            "first": self.values.first(),
            "last": self.values.last(),
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
        })
    }
}

/// What a random number is drawn for.
#[derive(Clone, Copy, Debug)]
enum Draw {
    Device,
    Noise,
    Dropped,
    Outlier,
    Gap,
    Burst,
    Wander,
    Latency,
    Late,
    Duplicate,
    Order,
}

impl Plan {
    /// A day of 5-second samples sent every five minutes, one batch in fifty late, one in fifty
    /// twice, from 2026-01-01T00:00:00Z.
    #[must_use]
    pub const fn new(devices: u32, seed: u64) -> Self {
        Self {
            devices,
            start_ms: 1_767_225_600_000,
            seconds: 86_400,
            every_seconds: 5,
            batch_seconds: 300,
            seed,
            late_share: 0.02,
            duplicate_share: 0.02,
        }
    }

    /// The identifier of a device by its number, from 0.
    #[must_use]
    pub fn device_id(device: u32) -> String {
        format!("thermometer-{device:04}")
    }

    /// Samples that each device takes, those that get lost included.
    fn samples(&self) -> u32 {
        self.seconds.div_ceil(self.every_seconds.max(1))
    }

    fn samples_of_batch(&self) -> u32 {
        (self.batch_seconds / self.every_seconds.max(1)).max(1)
    }

    /// When a sample is taken, in milliseconds after the first one.
    fn after_ms(&self, sample: u32) -> i64 {
        i64::from(sample) * i64::from(self.every_seconds.max(1)) * 1_000
    }

    /// The batches as they arrive, in order of arrival.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        let per_batch = self.samples_of_batch();
        let mut arrivals = Vec::new();
        for nth in 0..self.samples().div_ceil(per_batch) {
            let end = self.after_ms((nth + 1).saturating_mul(per_batch));
            for device in 0..self.devices {
                let draw = |purpose| self.share(device, nth, purpose);
                let is_late = draw(Draw::Late) < self.late_share;
                let delay = 200.0 + 2_800.0 * draw(Draw::Latency);
                let delay = delay
                    + if is_late {
                        10_800_000.0 * draw(Draw::Order)
                    } else {
                        0.0
                    };
                arrivals.push((end + whole(delay), device, nth, is_late));
                if draw(Draw::Duplicate) < self.duplicate_share {
                    let again = end + whole(delay + 600_000.0 * draw(Draw::Order));
                    arrivals.push((again, device, nth, false));
                }
            }
        }
        arrivals.sort_unstable();
        arrivals
            .into_iter()
            .filter_map(move |(arrives_after_ms, device, nth, shuffled)| {
                let end = (nth + 1).saturating_mul(per_batch).min(self.samples());
                let samples = nth * per_batch..end;
                let mut readings: Vec<(i64, f64)> = samples
                    .filter_map(|index| self.reading(device, index))
                    .collect();
                if shuffled {
                    readings.sort_unstable_by_key(|(time, _)| mix(self.seed ^ time.unsigned_abs()));
                }
                (!readings.is_empty()).then(|| Batch {
                    device_id: Self::device_id(device),
                    arrives_after_ms,
                    readings,
                })
            })
    }

    /// The distinct readings of a device in order of time.
    pub fn readings(&self, device: u32) -> impl Iterator<Item = (i64, f64)> + '_ {
        (0..self.samples()).filter_map(move |index| self.reading(device, index))
    }

    /// What the readings of each device come to in each stretch of `bucket_ms` milliseconds that has
    /// any, by the device's identifier and the stretch's start.
    #[must_use]
    pub fn folds(&self, bucket_ms: i64) -> BTreeMap<(String, i64), Fold> {
        let mut folds: BTreeMap<(String, i64), Fold> = BTreeMap::new();
        for device in 0..self.devices {
            let id = Self::device_id(device);
            let mut fold = Fold::default();
            let mut bucket = i64::MIN;
            for (time, value) in self.readings(device) {
                let start = time.div_euclid(bucket_ms) * bucket_ms;
                if start != bucket && !fold.values.is_empty() {
                    folds.insert((id.clone(), bucket), std::mem::take(&mut fold));
                }
                bucket = start;
                fold.add(value);
            }
            if !fold.values.is_empty() {
                folds.insert((id, bucket), fold);
            }
        }
        folds
    }

    /// The devices, each as the body that registers it.
    #[must_use]
    pub fn devices_json(&self) -> Vec<Value> {
        let device = |number: u32| {
            json!({
                "device_id": Self::device_id(number),
                "name": format!("Room {}.{:02}", number / 40 + 1, number % 40 + 1),
                "type": METRIC,
                "location": format!("Building {}", number / 200 + 1),
                "unit": UNIT,
            })
        };
        (0..self.devices).map(device).collect()
    }

    /// A sample; `None` if it got lost.
    fn reading(&self, device: u32, index: u32) -> Option<(i64, f64)> {
        let after_ms = self.after_ms(index);
        let time = self.start_ms + after_ms;
        // Gaps and bursts last for a quarter of an hour of Unix time.
        let quarter = u32::try_from(after_ms / 900_000).unwrap_or(u32::MAX);
        let is_lost = self.share(device, index, Draw::Dropped) < 0.002
            || self.share(device, quarter, Draw::Gap) < 0.01;
        (!is_lost).then(|| (time, self.value(device, index, quarter, time)))
    }

    /// What the device shows: the room, a day's warmth, weather, a heater now and then, the
    /// sensor's noise and its faults, to two places.
    fn value(&self, device: u32, index: u32, quarter: u32, time: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "times are below 2^53")]
        let days = time as f64 / 86_400_000.0;
        let trait_of = |nth| self.share(device, nth, Draw::Device);
        let room = 17.0 + 6.0 * trait_of(0);
        let day = (1.0 + 3.0 * trait_of(1)) * ((days - 0.35 - 0.1 * trait_of(2)) * TAU).sin();
        let weather = 1.5 * ((days / (3.0 + 4.0 * trait_of(3)) + trait_of(4)) * TAU).sin();
        let drift = 0.01 * (trait_of(5) - 0.5) * (days - 20_454.0);

        // A slow wandering: random levels ten minutes apart, and straight lines between them.
        let tens = days * 144.0;
        let along = tens - tens.floor();
        let level = |at: f64| {
            let nth = u32::try_from(whole(at)).unwrap_or(0);
            0.3 * (self.share(device, nth, Draw::Wander) - 0.5)
        };
        let wander = level(tens.floor()) * (1.0 - along) + level(tens.floor() + 1.0) * along;

        let burst = if self.share(device, quarter, Draw::Burst) < 0.01 {
            let along = (days * 96.0).fract();
            6.0 * (along * TAU / 2.0).sin()
        } else {
            0.0
        };
        let noise = 0.04 * self.bell(device, index);
        let outlier = match self.share(device, index, Draw::Outlier) {
            share if share < 0.000_02 => 60.0,
            share if share < 0.000_04 => -60.0,
            _ => 0.0,
        };
        let sum = room + day + weather + drift + wander + burst + noise + outlier;
        (sum * 100.0).round() / 100.0
    }

    /// Nearly normal with a deviation of one half: the sum of three draws, centred.
    fn bell(&self, device: u32, index: u32) -> f64 {
        let random = self.random(device, index, Draw::Noise);
        let part = |shift: u32| f64::from(u16::try_from(random >> shift & 0xffff).unwrap_or(0));
        (part(0) + part(16) + part(32)) / 65_536.0 - 1.5
    }

    /// A number from 0 up to 1.
    fn share(&self, device: u32, index: u32, purpose: Draw) -> f64 {
        let random = self.random(device, index, purpose) >> 32;
        f64::from(u32::try_from(random).unwrap_or(0)) / 4_294_967_296.0
    }

    /// A number that only the seed, a device, an index and a purpose decide (`SplitMix64`, Steele,
    /// Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    const fn random(&self, device: u32, index: u32, purpose: Draw) -> u64 {
        let place = (device as u64) << 32 | index as u64;
        let state = mix(self.seed.wrapping_add(place.wrapping_mul(GOLDEN)));
        mix(state.wrapping_add((purpose as u64 + 1).wrapping_mul(GOLDEN)))
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "delays and counts of steps, far below 2^53"
)]
const fn whole(number: f64) -> i64 {
    number as i64
}

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

impl Batch {
    /// The batch as a body of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut body = format!(r#"{{"device_id":"{}","readings":["#, self.device_id);
        for (nth, (time, value)) in self.readings.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            let time = rfc3339(*time);
            // A String takes every write.
            let _ = write!(
                body,
                r#"{comma}{{"metric":"{METRIC}","timestamp":"{time}","value":{value},"unit":"{UNIT}"}}"#
            );
        }
        body + "]}"
    }

    /// Appends the batch as lines of NDJSON.
    pub fn write_ndjson(&self, body: &mut String) {
        for (time, value) in &self.readings {
            let (device, time) = (&self.device_id, rfc3339(*time));
            // A String takes every write.
            let _ = writeln!(
                body,
                r#"{{"device_id":"{device}","metric":"{METRIC}","timestamp":"{time}","value":{value},"unit":"{UNIT}"}}"#
            );
        }
    }

    /// Appends the batch as lines of line protocol, times in nanoseconds.
    pub fn write_line_protocol(&self, body: &mut String) {
        for (time, value) in &self.readings {
            let device = &self.device_id;
            // A String takes every write.
            let _ = writeln!(
                body,
                "rooms,device_id={device} {METRIC}={value} {time}000000"
            );
        }
    }
}

/// How the command writes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// A body of JSON a line.
    Json,
    Ndjson,
    LineProtocol,
}

/// How the command line is used.
pub const USAGE: &str = "generate-sensors [--devices N] [--start RFC3339] [--seconds N] [--every N] [--batch N] \
    [--seed N] [--late SHARE] [--duplicates SHARE] [--format json|ndjson|lp] --out FILE [--devices-out FILE] \
    [--expected FILE]";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    plan: Plan,
    spelling: Spelling,
    out: PathBuf,
    devices_out: Option<PathBuf>,
    expected: Option<PathBuf>,
}

impl Command {
    /// Reads the arguments behind the program's name; see [`USAGE`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] naming the argument that is unknown, missing or wrong.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> io::Result<Self> {
        const NAMES: [&str; 12] = [
            "--devices",
            "--start",
            "--seconds",
            "--every",
            "--batch",
            "--seed",
            "--late",
            "--duplicates",
            "--format",
            "--out",
            "--devices-out",
            "--expected",
        ];
        let mut options: BTreeMap<String, String> = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if !NAMES.contains(&name.as_str()) {
                return Err(invalid(&format!("unknown argument {name}")));
            }
            let value = arguments.next();
            let value = value.ok_or_else(|| invalid(&format!("{name} needs a value")))?;
            options.insert(name, value);
        }
        let option = |name: &str| options.get(name).map(String::as_str);
        let base = Plan::new(number(option("--devices"), "--devices", 10)?, 1);
        let start = match option("--start") {
            None => base.start_ms,
            Some(time) => time
                .parse::<Timestamp>()
                .map_err(|_| invalid("--start is not a time of RFC 3339"))?
                .as_millisecond(),
        };
        let plan = Plan {
            start_ms: start,
            seconds: number(option("--seconds"), "--seconds", base.seconds)?,
            every_seconds: number(option("--every"), "--every", base.every_seconds)?,
            batch_seconds: number(option("--batch"), "--batch", base.batch_seconds)?,
            seed: number(option("--seed"), "--seed", base.seed)?,
            late_share: number(option("--late"), "--late", base.late_share)?,
            duplicate_share: number(option("--duplicates"), "--duplicates", base.duplicate_share)?,
            ..base
        };
        let spelling = match option("--format") {
            None | Some("ndjson") => Spelling::Ndjson,
            Some("json") => Spelling::Json,
            Some("lp") => Spelling::LineProtocol,
            Some(_) => return Err(invalid("--format is not json, ndjson or lp")),
        };
        let path = |name: &str| option(name).map(PathBuf::from);
        Ok(Self {
            plan,
            spelling,
            out: path("--out").ok_or_else(|| invalid("--out is missing"))?,
            devices_out: path("--devices-out"),
            expected: path("--expected"),
        })
    }

    /// Writes the files: the batches in order of arrival, the devices as a JSON array, and the
    /// expected figures by device and UTC day.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn run(&self) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&self.out)?);
        let (mut batches, mut sent) = (0u64, 0usize);
        for batch in self.plan.batches() {
            let mut body = String::new();
            match self.spelling {
                Spelling::Json => body = batch.to_json() + "\n",
                Spelling::Ndjson => batch.write_ndjson(&mut body),
                Spelling::LineProtocol => batch.write_line_protocol(&mut body),
            }
            out.write_all(body.as_bytes())?;
            batches += 1;
            sent += batch.readings.len();
        }
        out.flush()?;
        if let Some(path) = &self.devices_out {
            let devices = Value::from(self.plan.devices_json());
            std::fs::write(path, format!("{devices:#}\n"))?;
        }
        if let Some(path) = &self.expected {
            let folds = self.plan.folds(86_400_000);
            let distinct: usize = folds.values().map(|fold| fold.values.len()).sum();
            let mut devices: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for ((device, start), fold) in folds {
                devices.entry(device).or_default().push(fold.to_json(start));
            }
            let expected =
                json!({"batches": batches, "sent": sent, "distinct": distinct, "days": devices});
            std::fs::write(path, format!("{expected:#}\n"))?;
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>, name: &str, default: T) -> io::Result<T> {
    text.map_or(Ok(default), |text| {
        text.parse()
            .map_err(|_| invalid(&format!("{name} is not a number: {text}")))
    })
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{message}\nusage: {USAGE}"),
    )
}

#[cfg(test)]
mod tests {
    use shared::sensors::intake::{Format, MOST_LINE_READINGS, Precision, Rules, parse};

    use super::*;

    fn plan() -> Plan {
        Plan {
            seconds: 21_600,
            late_share: 0.1,
            duplicate_share: 0.1,
            ..Plan::new(3, 7)
        }
    }

    #[test]
    fn equal_seeds_give_equal_batches_and_others_do_not() {
        let batches = |plan: Plan| plan.batches().collect::<Vec<_>>();
        assert_eq!(batches(plan()), batches(plan()));
        assert_ne!(batches(plan()), batches(Plan { seed: 8, ..plan() }));
    }

    #[test]
    fn the_batches_hold_the_distinct_readings_late_twice_and_shuffled() {
        let plan = plan();
        let batches: Vec<Batch> = plan.batches().collect();
        assert!(batches.is_sorted_by_key(|batch| batch.arrives_after_ms));
        assert!(
            batches
                .iter()
                .any(|batch| !batch.readings.is_sorted_by_key(|(time, _)| *time))
        );
        assert!(batches.iter().any(|batch| {
            let last = batch.readings.iter().map(|(time, _)| *time).max();
            last.is_some_and(|last| batch.arrives_after_ms > last - plan.start_ms + 1_800_000)
        }));
        let mut distinct = BTreeMap::new();
        let mut sent = 0;
        for batch in &batches {
            for (time, value) in &batch.readings {
                sent += 1;
                let before = distinct.insert((batch.device_id.clone(), *time), *value);
                assert!(before.is_none_or(|before| before.to_bits() == value.to_bits()));
            }
        }
        assert!(sent > distinct.len());
        let expected: BTreeMap<(String, i64), f64> = (0..plan.devices)
            .flat_map(|device| {
                let id = Plan::device_id(device);
                plan.readings(device)
                    .map(move |(time, value)| ((id.clone(), time), value))
            })
            .collect();
        assert_eq!(distinct, expected);
    }

    #[test]
    fn a_device_loses_some_samples_and_shows_what_a_room_can_have() {
        let plan = Plan::new(1, 1);
        let readings: Vec<(i64, f64)> = plan.readings(0).collect();
        assert!((15_000..17_280).contains(&readings.len()));
        let fold = &plan.folds(86_400_000)[&(Plan::device_id(0), plan.start_ms)];
        assert_eq!(fold.values.len(), readings.len());
        assert!(fold.quantile(0.01) > 5.0 && fold.quantile(0.99) < 40.0);
        assert!(fold.quantile(0.99) - fold.quantile(0.01) > 1.0);
    }

    #[test]
    fn folds_are_those_of_the_numbers_written_down() {
        let plan = Plan {
            seconds: 3_600,
            every_seconds: 60,
            ..Plan::new(2, 3)
        };
        let folds = plan.folds(1_800_000);
        assert_eq!(folds.len(), 4);
        for ((_, start), fold) in folds {
            assert_eq!(start % 1_800_000, 0);
            let ends = [fold.quantile(0.0), fold.quantile(1.0)];
            assert_eq!(
                ends.map(f64::to_bits),
                [fold.min(), fold.max()].map(f64::to_bits)
            );
            let sum: i64 = fold
                .values
                .iter()
                .map(|value| format!("{value:.2}").replace('.', ""))
                .map(|hundredths| hundredths.parse::<i64>().expect("it is a number"))
                .sum();
            assert_eq!(fold.sum_hundredths, sum);
        }
        let fold = Fold {
            values: vec![3.0, 1.0, 2.0],
            sum_hundredths: 600,
        };
        let found = [0.3, 0.5, 0.7].map(|share| fold.quantile(share).to_bits());
        assert_eq!(found, [1.0_f64, 2.0, 3.0].map(f64::to_bits));
    }

    #[test]
    fn every_format_says_the_same() {
        let plan = Plan {
            seconds: 600,
            ..plan()
        };
        let rules = Rules {
            now_ms: plan.start_ms,
            oldest_ms: None,
            latest_ms: plan.start_ms + 600_000,
            most_readings: MOST_LINE_READINGS,
        };
        for batch in plan.batches() {
            let (mut ndjson, mut lines) = (String::new(), String::new());
            batch.write_ndjson(&mut ndjson);
            batch.write_line_protocol(&mut lines);
            let precision = Precision::Nanoseconds;
            for (format, body) in [
                (Format::Json, batch.to_json()),
                (Format::Ndjson, ndjson),
                (Format::LineProtocol { precision }, lines),
            ] {
                let intake = parse(format, body.as_bytes(), &rules).expect("the body is good");
                assert_eq!(intake.errors, []);
                let readings = intake.readings.iter();
                let found: Vec<(i64, f64)> =
                    readings.map(|row| (row.timestamp, row.value)).collect();
                assert_eq!(found, batch.readings);
                assert_eq!(intake.readings.series.len(), 1);
                assert_eq!(intake.readings.series[0].device, batch.device_id);
                assert_eq!(intake.readings.series[0].metric, METRIC);
            }
        }
    }

    #[test]
    fn the_command_line_is_read_or_refused_by_name() {
        let parse = |line: &str| Command::parse(line.split(' ').map(str::to_owned));
        let line = "--devices 3 --start 2026-01-02T00:00:00Z --late 0.5 --format lp --out a";
        let command = parse(line).expect("the line is right");
        let plan = Plan {
            start_ms: 1_767_312_000_000,
            late_share: 0.5,
            ..Plan::new(3, 1)
        };
        assert_eq!(
            (command.plan, command.spelling),
            (plan, Spelling::LineProtocol)
        );
        for (line, word) in [
            ("--devices 10", "--out"),
            ("--devices ten --out a", "--devices"),
            ("--out", "--out"),
            ("--device 10", "--device"),
            ("--out a --start yesterday", "--start"),
            ("--out a --format xml", "--format"),
        ] {
            let error = parse(line).expect_err("the line is wrong").to_string();
            assert!(
                error.starts_with(word) || error.contains(&format!("argument {word}")),
                "{error}"
            );
        }
    }
}
