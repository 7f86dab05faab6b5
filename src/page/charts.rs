//! Bars as SVG, whose colours come from the style. Pure.

use chrono::NaiveDate;

use super::markup::{Html, put};
use crate::control::human;

/// The chart's height, in its own units; each day has ten of them in width.
const HEIGHT: u64 = 100;
const STEP: usize = 10;
/// A value above zero is seen.
const LEAST: u64 = 2;
/// The last days, which are drawn stronger.
const WEEK: usize = 7;

/// A day's bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    pub(super) name: NaiveDate,
    pub(super) value: u64,
    /// The part of it that is drawn in another colour, at the foot.
    pub(super) part: u64,
}

/// A bar for each day. A screen reader hears a sentence in their place; the numbers are in a table.
pub(super) fn bars(page: &mut Html, name: &str, days: &[Bar]) {
    let most = days.iter().map(|bar| bar.value).max().unwrap_or(0);
    let sum: u64 = days.iter().map(|bar| bar.value).sum();
    put!(
        page,
        "<svg class=\"bars\" role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 ",
        days.len() * STEP,
        " ",
        HEIGHT,
        "\" aria-label=\"",
        format!(
            "{name} per day over {} days: {} in all, {} on the busiest day",
            days.len(),
            human::count(sum),
            human::count(most)
        ),
        "\">\n"
    );
    for (at, bar) in days.iter().enumerate() {
        let is_of_week = at + WEEK >= days.len();
        let class = if is_of_week { "week" } else { "day" };
        let whole = height(bar.value, most);
        rect(page, class, at, whole, Some(&title(bar)));
        if bar.part > 0 {
            rect(page, "part", at, height(bar.part, most).min(whole), None);
        }
    }
    page.markup("</svg>\n");
}

fn title(bar: &Bar) -> String {
    let failed = if bar.part > 0 {
        format!(", {} failed", human::count(bar.part))
    } else {
        String::new()
    };
    format!("{}: {}{failed}", bar.name, human::count(bar.value))
}

fn rect(page: &mut Html, class: &str, at: usize, height: u64, title: Option<&str>) {
    put!(
        page,
        "<rect class=\"",
        class,
        "\" x=\"",
        at * STEP + 1,
        "\" y=\"",
        HEIGHT - height,
        "\" width=\"",
        STEP - 2,
        "\" height=\"",
        height,
        "\">"
    );
    if let Some(title) = title {
        put!(page, "<title>", title, "</title>");
    }
    page.markup("</rect>\n");
}

fn height(value: u64, most: u64) -> u64 {
    if value == 0 || most == 0 {
        return 0;
    }
    let height = u128::from(value) * u128::from(HEIGHT) / u128::from(most);
    u64::try_from(height).unwrap_or(HEIGHT).clamp(LEAST, HEIGHT)
}

/// A value's size relative to the largest one.
pub(super) fn share(page: &mut Html, value: u64, most: u64) {
    put!(
        page,
        "<svg class=\"share\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        "<rect class=\"track\" width=\"100\" height=\"4\"/><rect class=\"week\" width=\"",
        height(value, most),
        "\" height=\"4\"/></svg>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_in_proportion_and_seen() {
        assert_eq!(height(0, 10), 0);
        assert_eq!(height(0, 0), 0);
        assert_eq!(height(10, 10), HEIGHT);
        assert_eq!(height(5, 10), HEIGHT / 2);
        assert_eq!(height(1, u64::MAX), LEAST);
        assert_eq!(height(u64::MAX, u64::MAX), HEIGHT);
    }
}
