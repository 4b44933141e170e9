//! Tests of the decisions, of whole plans, and of the properties that hold for all clusters.
