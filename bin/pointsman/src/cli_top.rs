//! The command line of `pointsman top`.

use std::time::Duration;

use clap::Args;

use crate::cli::OutputFormat;

pub(crate) const EXAMPLES: &str = "\
Examples:
  pointsman top
  pointsman top --interval 5s --rows 50
  pointsman top --once -o json | jq '.services[0]'

Reads the kernel, and needs no agent. Ends on q or Ctrl-C. Connections that were there before are \
not counted. With -o json, each interval is one line.

Exit codes: 0 ended, 1 nothing to read here, 2 wrong usage.";

/// `pointsman top`
#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    /// Over what time connections are counted: a number of ms, s or m
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    pub(crate) interval: Duration,
    /// Count over one interval, print, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// How many Services and how many endpoints are shown (JSON has all)
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub(crate) rows: usize,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
}

/// A time such as `500ms`, `2s` or `1m`.
fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => return Err(format!("{unit:?} is no unit: ms, s or m")),
    };
    let number: u64 = number.parse().map_err(|_| "a number must come first".to_owned())?;
    let time = number.saturating_mul(milliseconds);
    if !(100..=3_600_000).contains(&time) {
        return Err("between 100ms and 60m".into());
    }
    Ok(Duration::from_millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "s", "1h", "99ms", "61m", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
