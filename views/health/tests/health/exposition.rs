//! A reader of Prometheus' text format, as strict as its own, with the checks of its linter.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a sample, in order.
pub(crate) type Labels = Vec<(String, String)>;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

/// One metric with its samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metric {
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

impl Metric {
    /// The names of the labels, `le` aside.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|sample| &sample.labels);
        labels.map(|(name, _)| name.as_str()).filter(|name| *name != "le").collect()
    }

    /// The value of the only sample with these labels.
    pub(crate) fn value(&self, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<_> = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        let found: Vec<_> = self.samples.iter().filter(|sample| sample.labels == labels).collect();
        assert_eq!(found.len(), 1, "{labels:?} of {self:?}");
        found[0].value
    }
}

/// Reads a whole text. A panic says what no scraper would take.
pub(crate) fn read(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            let metric = Metric { help: help.into(), ..Metric::default() };
            assert!(metrics.insert(name.into(), metric).is_none(), "{name} comes twice");
            current = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE without its HELP");
            metrics.get_mut(name).unwrap().kind = kind.into();
        } else {
            let sample = sample(line);
            let metric = metrics.get_mut(&current).unwrap();
            let suffix = sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("{line}"));
            let allowed: &[&str] = match &*metric.kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} in {current}");
            let series = line.rsplit_once(' ').unwrap().0.to_owned();
            assert!(seen.insert(series), "{line} comes twice");
            metric.samples.push(sample);
        }
    }
    metrics
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = match value {
        "+Inf" => f64::INFINITY,
        other => other.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = Vec::new();
    while rest != "}" {
        let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        let (value, after) = unquote(quoted);
        labels.push((label.to_owned(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Sample { name: name.into(), labels, value }
}

fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match letters.next().unwrap().1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("{quoted}: no end");
}

/// What `promtool check metrics` objects to, and broken histograms.
pub(crate) fn lint(metrics: &BTreeMap<String, Metric>) -> Vec<String> {
    const ABBREVIATED: [&str; 15] =
        ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d", "msec"];
    const NO_BASE_UNIT: [&str; 10] = [
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "megabytes",
        "bits",
        "percent",
    ];
    let mut problems = Vec::new();
    for (name, metric) in metrics {
        let mut problem = |text: &str| problems.push(format!("{name}: {text}"));
        let counter = metric.kind == "counter";
        if metric.help.is_empty() {
            problem("no help text");
        }
        if !["counter", "gauge", "histogram"].contains(&&*metric.kind) {
            problem("no type");
        }
        if counter && !name.ends_with("_total") {
            problem("counter metrics should have \"_total\" suffix");
        }
        if !counter && name.ends_with("_total") {
            problem("non-counter metrics should not have \"_total\" suffix");
        }
        if metric.kind != "histogram"
            && ["_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
        {
            problem("the suffix is a histogram's");
        }
        let snake = |text: &str| {
            text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !text.starts_with(|c: char| c.is_ascii_digit() || c == '_')
        };
        if !snake(name) || !metric.labels().into_iter().all(snake) {
            problem("names should be written in snake_case");
        }
        for word in name.split('_') {
            if ["counter", "gauge", "histogram", "summary", "untyped"].contains(&word) {
                problem("the type does not belong into the name");
            }
            if ABBREVIATED.contains(&word) || NO_BASE_UNIT.contains(&word) {
                problem("units are seconds and bytes, written out");
            }
        }
        if metric.samples.is_empty() {
            problem("no sample");
        }
        if counter && metric.samples.iter().any(|sample| !(0.0..).contains(&sample.value)) {
            problem("a counter below nothing");
        }
        if metric.kind == "histogram" {
            lint_histogram(metric, &mut problem);
        } else if metric.samples.iter().any(|one| one.labels.iter().any(|(n, _)| n == "le")) {
            problem("the label le is a histogram's");
        }
    }
    problems
}

fn lint_histogram(metric: &Metric, problem: &mut impl FnMut(&str)) {
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let mut sums = BTreeSet::new();
    for sample in &metric.samples {
        let mut labels = sample.labels.clone();
        if sample.name.ends_with("_bucket") {
            let at = labels.iter().position(|(name, _)| name == "le").unwrap();
            let bound = labels.remove(at).1;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry(labels).or_default().push((bound, sample.value));
        } else if sample.name.ends_with("_count") {
            counts.insert(labels, sample.value);
        } else {
            sums.insert(labels);
        }
    }
    if buckets.keys().ne(counts.keys()) || buckets.keys().ne(&sums) {
        problem("buckets, sum and count do not belong together");
    }
    for (labels, buckets) in buckets {
        let rising = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().unwrap();
        if !rising || last.0 != f64::INFINITY || Some(&last.1) != counts.get(&labels) {
            problem("buckets do not add up");
        }
    }
}

#[test]
fn the_linter_objects() {
    for (text, part) in [
        ("# HELP a_x A.\n# TYPE a_x counter\na_x 1\n", "should have"),
        ("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n", "should not have"),
        ("# HELP a A.\n# TYPE a gauge\n", "no sample"),
        ("# HELP a \n# TYPE a gauge\na 1\n", "no help"),
        ("# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", "units"),
        ("# HELP a_count A.\n# TYPE a_count gauge\na_count 1\n", "suffix"),
        ("# HELP aB A.\n# TYPE aB gauge\naB 1\n", "snake_case"),
        ("# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n", "type"),
        ("# HELP a A.\n# TYPE a gauge\na{le=\"1\"} 1\n", "label le"),
        ("# HELP a_total A.\n# TYPE a_total counter\na_total -1\n", "below"),
        (
            "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\n\
             a_count 1\n",
            "add up",
        ),
        ("# HELP a A.\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n", "together"),
    ] {
        let problems = lint(&read(text));
        assert!(problems.iter().any(|problem| problem.contains(part)), "{text}: {problems:?}");
    }
    let fine = "# HELP a A.\n# TYPE a gauge\na{b=\"x\\\"\\\\\\n\",c=\"}\"} 1e3\n";
    let metrics = read(fine);
    assert_eq!(lint(&metrics), [""; 0]);
    assert_eq!(metrics["a"].value(&[("b", "x\"\\\n"), ("c", "}")]), 1000.0);
}
