//! The table, as Markdown.

use std::fmt::Write;

use super::contestants::Contestant;
use super::rows::{Goal, Row, Unit};

/// Figures of one row: a list for each contestant, a figure for each round.
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) figures: Vec<Vec<Option<f64>>>,
    /// What went wrong, for each contestant.
    pub(crate) wrong: Vec<Option<String>>,
}

impl Line {
    pub(crate) fn new(row: Row, contestants: usize) -> Self {
        Self {
            row,
            figures: vec![Vec::new(); contestants],
            wrong: vec![None; contestants],
        }
    }

    /// Against the one whose place is `nginx`.
    pub(crate) fn markdown(&self, contestants: &[Contestant], nginx: Option<usize>) -> String {
        let mut text = format!("| {}", self.row.label);
        for (place, contestant) in contestants.iter().enumerate() {
            let cell = self.cell(place, nginx);
            let cell = match self.verdict(contestant, place, nginx) {
                Some(true) => format!("{cell} ✓"),
                Some(false) => format!("**{cell}**"),
                None => cell,
            };
            write!(text, " | {cell}").unwrap_or_default();
        }
        let goal = match self.row.goal {
            None => "–".to_owned(),
            Some(Goal::Ratio(most)) => format!("≤ {most:.2} × nginx"),
            Some(Goal::Figure(most)) => format!("≤ {}", self.row.unit.show(most)),
        };
        text + " | " + &goal + " |"
    }

    fn cell(&self, place: usize, nginx: Option<usize>) -> String {
        if let Some(Some(wrong)) = self.wrong.get(place) {
            return wrong.replace('|', "/");
        }
        let Some((median, spread)) = self.figures.get(place).and_then(|of| middle(of)) else {
            return "–".to_owned();
        };
        let mut cell = self.row.unit.show(median);
        if spread > 0.0 {
            write!(cell, " ± {:.0} %", spread * 100.0).unwrap_or_default();
        }
        if Some(place) != nginx
            && let Some(ratio) = self.ratio(place, nginx)
        {
            write!(cell, " ({ratio:.2})").unwrap_or_default();
        }
        cell
    }

    /// The median of the ratios of each round.
    fn ratio(&self, place: usize, nginx: Option<usize>) -> Option<f64> {
        let (own, its) = (self.figures.get(place)?, self.figures.get(nginx?)?);
        let ratios = own.iter().zip(its);
        let ratios: Vec<_> = ratios.map(|(own, its)| Some((*own)? / (*its)?)).collect();
        middle(&ratios).map(|(median, _)| median)
    }

    /// Whether the goal is reached, which is for our daemons.
    fn verdict(&self, contestant: &Contestant, place: usize, nginx: Option<usize>) -> Option<bool> {
        if !contestant.is_ours() {
            return None;
        }
        let figure = |place: usize| Some(middle(self.figures.get(place)?)?.0);
        match self.row.goal? {
            Goal::Ratio(most) => Some(self.ratio(place, nginx)? <= most),
            Goal::Figure(most) => Some(figure(place)? <= most),
        }
    }
}

/// The median, and half of the distance between the extremes as a part of it.
fn middle(figures: &[Option<f64>]) -> Option<(f64, f64)> {
    let mut figures: Vec<f64> = figures.iter().copied().flatten().collect();
    figures.sort_unstable_by(f64::total_cmp);
    let median = *figures.get(figures.len() / 2)?;
    let range = figures.last()? - figures.first()?;
    Some((median, range / 2.0 / median))
}

impl Unit {
    fn show(self, figure: f64) -> String {
        let (digits, name) = match self {
            Self::Microseconds if figure >= 1000.0 => return format!("{:.2} ms", figure / 1e3),
            Self::Microseconds if figure >= 100.0 => (0, "µs"),
            Self::Microseconds => (1, "µs"),
            Self::Milliseconds if figure >= 100.0 => (0, "ms"),
            Self::Milliseconds => (1, "ms"),
            Self::Kibibytes => (1, "KiB"),
            Self::Megabytes => (1, "MB"),
        };
        format!("{figure:.digits$} {name}")
    }
}

/// The table's head.
pub(crate) fn head(contestants: &[Contestant]) -> String {
    let mut text = "|".to_owned();
    for contestant in contestants {
        let name = format!("{} {}", contestant.name, contestant.version);
        write!(text, " | {}", name.trim()).unwrap_or_default();
    }
    text.push_str(" | goal |\n|");
    text + &"---|".repeat(contestants.len() + 2)
}
