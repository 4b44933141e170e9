//! Lengths of time as Kubernetes configurations write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};

/// A length of time as `metav1.Duration` reads and writes it: `30s`, `1h0m0s`, `1.5h`, `300ms`.
///
/// It may be negative: that is refused where the field is checked, so that the message can name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaDuration {
    nanoseconds: i64,
}

/// A text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no length of time such as 30s, 1m30s or 500ms")]
pub struct BadDuration {
    /// What was read.
    pub text: String,
}

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Longer names first, so that `ms` is not read as minutes.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];

impl MetaDuration {
    /// No time at all, which most fields read as "not said".
    pub const ZERO: Self = Self { nanoseconds: 0 };

    /// A number of seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { nanoseconds: seconds.saturating_mul(SECOND) }
    }

    /// A number of nanoseconds, as `logging.flushFrequency` may give them.
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// The length, if it is not negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds).ok().map(Duration::from_nanos)
    }
}

impl FromStr for MetaDuration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let bad = || BadDuration { text: text.into() };
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (part, after) = leading(rest).ok_or_else(bad)?;
            total = total.checked_add(part).ok_or_else(bad)?;
            rest = after;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(Self::from_nanoseconds).map_err(|_| bad())
    }
}

/// Reads `1.5h` at the head of a text: its nanoseconds, and what follows.
fn leading(text: &str) -> Option<(i128, &str)> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&end| end > 0)?;
    let (digits, rest) = text.split_at(number);
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
    let unit = i128::from(*unit);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // An hour has 13 digits of nanoseconds: what stands behind changes nothing.
    let fraction = &fraction[..fraction.len().min(18)];
    let parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((whole.checked_mul(unit)?.checked_add(parts * unit / scale)?, rest))
}

impl fmt::Display for MetaDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        let [second, minute, hour] = [SECOND, MINUTE, HOUR].map(i64::unsigned_abs);
        match total {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{total}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(total, 1_000)),
            _ if total < second => write!(f, "{}ms", decimal(total, 1_000_000)),
            _ => {
                if total >= hour {
                    write!(f, "{}h", total / hour)?;
                }
                if total >= minute {
                    write!(f, "{}m", total % hour / minute)?;
                }
                write!(f, "{}s", decimal(total % minute, second))
            }
        }
    }
}

/// `value / unit` (a power of ten) without zeros at the end.
fn decimal(value: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => (value / unit).to_string(),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

impl Serialize for MetaDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetaDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = MetaDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 30s, 1m30s or 500ms")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MetaDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads `logging.flushFrequency`, which may also be a whole number of nanoseconds.
///
/// # Errors
/// The deserializer's, where the value is neither.
pub(crate) fn or_nanoseconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<MetaDuration, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = MetaDuration;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a length of time such as 5s, or a number of nanoseconds")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MetaDuration, E> {
            text.parse().map_err(E::custom)
        }
        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<MetaDuration, E> {
            Ok(MetaDuration::from_nanoseconds(number))
        }
        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<MetaDuration, E> {
            let number = i64::try_from(number).map_err(|_| E::custom("the number is too large"))?;
            Ok(MetaDuration::from_nanoseconds(number))
        }
    }
    deserializer.deserialize_any(Either).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes_as_metav1_duration() {
        for (read, written) in [
            ("30s", "30s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1h", "1h0m0s"),
            ("15m", "15m0s"),
            ("1.5h", "1h30m0s"),
            ("24h0m0s", "24h0m0s"),
            ("1m1.5s", "1m1.5s"),
            ("90s", "1m30s"),
            (".5s", "500ms"),
            ("1.s", "1s"),
            ("1500ms", "1.5s"),
            ("250us", "250µs"),
            ("1500ns", "1.5µs"),
            ("7ns", "7ns"),
            ("-1m", "-1m0s"),
            ("+2s", "2s"),
            ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
        ] {
            let duration: MetaDuration = read.parse().unwrap();
            assert_eq!(duration.to_string(), written, "{read}");
            assert_eq!(written.parse::<MetaDuration>().unwrap(), duration, "{written}");
        }
    }

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in ["", "-", "30", "s", "1x", "1d", "1 s", " 1s", ".s", "1.2.3s", "3000000h", "é"]
        {
            let error = text.parse::<MetaDuration>().unwrap_err();
            assert_eq!(error.text, text);
        }
    }

    #[test]
    fn a_negative_length_has_no_std_form() {
        assert_eq!(MetaDuration::from_seconds(-1).to_std(), None);
        assert_eq!(MetaDuration::from_seconds(2).to_std(), Some(Duration::from_secs(2)));
    }

    proptest! {
        #[test]
        fn every_length_survives_writing(nanoseconds in (i64::MIN + 1)..) {
            let duration = MetaDuration::from_nanoseconds(nanoseconds);
            prop_assert_eq!(duration.to_string().parse::<MetaDuration>().unwrap(), duration);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[0-9.hmsnuµ+-]{0,40}|\\PC{0,20}") {
            let _ = text.parse::<MetaDuration>();
        }
    }
}
