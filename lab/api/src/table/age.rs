//! Durations as people read them: the two greatest units, the second one only while it matters.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `k8s.io/apimachinery/pkg/util/duration.HumanDuration`, of seconds.
pub(super) fn human(seconds: i64) -> String {
    let two = |unit: i64, name: &str, rest: i64, rest_name: &str| {
        let (first, second) = (seconds / unit, seconds % unit / rest);
        if second == 0 {
            format!("{first}{name}")
        } else {
            format!("{first}{name}{second}{rest_name}")
        }
    };
    match seconds {
        // Clocks differ a little.
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_shows_them() {
        for (seconds, expected) in [
            (0, "0s"),
            (-1, "0s"),
            (-60, "<invalid>"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (3 * HOUR + 61, "3h1m"),
            (9 * HOUR, "9h"),
            (2 * DAY + HOUR, "2d1h"),
            (9 * DAY, "9d"),
            (2 * YEAR + DAY, "2y1d"),
            (9 * YEAR, "9y"),
        ] {
            assert_eq!(human(seconds), expected);
        }
    }
}
