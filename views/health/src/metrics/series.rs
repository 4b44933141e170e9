//! A metric with labels whose series are written in the order of their label values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// A gauge of any number.
pub(super) type Number = Gauge<f64, AtomicU64>;

/// Series by the values of their labels.
pub(super) type ByLabels<M> = BTreeMap<Vec<String>, M>;

/// The series of one name. The library's own type writes them in a random order; scrapes of equal
/// states shall be equal.
pub(super) struct Series<M> {
    labels: &'static [&'static str],
    make: fn() -> M,
    series: Arc<Mutex<ByLabels<M>>>,
}

impl<M: Clone> Series<M> {
    /// The series with these label values, made on first use.
    pub(super) fn with(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.labels.len());
        let values = values.iter().map(|&value| value.to_owned()).collect();
        self.lock().entry(values).or_insert_with(self.make).clone()
    }
}

impl<M> Series<M> {
    /// Puts these series in the place of all others, at once.
    pub(super) fn replace(&self, series: ByLabels<M>) {
        *self.lock() = series;
    }

    fn lock(&self) -> MutexGuard<'_, ByLabels<M>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Clone for Series<M> {
    fn clone(&self) -> Self {
        Self { labels: self.labels, make: self.make, series: self.series.clone() }
    }
}

impl<M> fmt::Debug for Series<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Series<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (values, metric) in self.lock().iter() {
            let pairs: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            metric.encode(encoder.encode_family(&pairs)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

/// Where metrics are registered, by the names that are scraped.
pub(super) struct Names<'a>(pub(super) &'a mut Registry);

impl Names<'_> {
    fn series<M>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        make: fn() -> M,
    ) -> Series<M>
    where
        M: EncodeMetric + TypedMetric + Send + Sync + 'static,
    {
        let series = Series { labels, make, series: Arc::default() };
        self.0.register(name, help, series.clone());
        series
    }

    /// A counter; its name ends in `_total`.
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Series<Counter> {
        // The library adds the ending.
        self.series(name.trim_end_matches("_total"), labels, help, Counter::default)
    }

    /// A gauge.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Series<Number> {
        self.series(name, labels, help, Number::default)
    }

    /// A histogram.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        make: fn() -> Histogram,
    ) -> Series<Histogram> {
        self.series(name, labels, help, make)
    }
}
