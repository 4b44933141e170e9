//! A permission and a matrix as people read them.

use std::fmt::Write;

use super::{CellDecision, Matrix, Permission, Permitted};
use crate::Style;
use crate::explain::policy_text::ends;

fn coloured(word: &str, good: bool, style: Style) -> String {
    let colour = if good { 32 } else { 31 };
    if style.colour { format!("\u{1b}[1;{colour}m{word}\u{1b}[0m") } else { word.into() }
}

impl Permission {
    /// The text for a terminal.
    #[must_use]
    pub fn to_text(&self, style: Style) -> String {
        let mut text = format!("{}\n\n", self.question);
        let all = ends(&self.policy);
        let width = all.iter().map(|end| end.title().chars().count()).max().unwrap_or_default();
        for end in &all {
            let word = if end.side.passes { "allowed" } else { "DENIED " };
            let word = coloured(word, end.side.passes, style);
            let (title, why) = (end.title(), &end.side.why);
            let _ = writeln!(text, "{title:<width$}  {word}  {why}");
            for rule in end.missed(style.verbose) {
                let _ = writeln!(text, "    {rule}");
            }
        }
        if !all.is_empty() {
            text.push('\n');
        }
        let word = match self.decision {
            Permitted::Allowed => "ALLOWED",
            Permitted::Denied => "DENIED",
            Permitted::Partly => "PARTLY ALLOWED",
            Permitted::NotAsked => "NO CONNECTION",
        };
        let word = coloured(word, self.decision == Permitted::Allowed, style);
        let _ = match self.decision {
            Permitted::Allowed => writeln!(text, "{word}"),
            _ => writeln!(text, "{word} [{}] {}", self.reason, self.detail),
        };
        text
    }
}

impl Matrix {
    /// The text for a terminal: a line for each source, a column for each port of each Pod.
    #[must_use]
    pub fn to_text(&self, style: Style) -> String {
        let titles: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        let first = self.rows.iter().map(|row| row.source.chars().count()).max();
        let first = first.unwrap_or_default().max("from \\ to".len());
        let mut text = format!("{:<first$}", "from \\ to");
        for title in &titles {
            let _ = write!(text, "  {title}");
        }
        text.push('\n');
        for row in &self.rows {
            let mut line = format!("{:<first$}", row.source);
            for (cell, title) in row.cells.iter().zip(&titles) {
                let width = title.chars().count();
                let word = cell.decision.word();
                let padding = " ".repeat(width.saturating_sub(word.chars().count()));
                let good = cell.decision != CellDecision::Denied;
                let word = if good { word.to_owned() } else { coloured(word, false, style) };
                let _ = write!(line, "  {word}{padding}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for pod in &self.portless {
            let _ = writeln!(text, "pod/{pod} declares no port: ask for one with --port");
        }
        text
    }
}
