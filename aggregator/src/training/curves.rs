//! `curves.svg`: how accuracy, loss and epsilon went, to look at in any browser.
//!
//! Everything in it is public: it is measured on the consumer's own validation set, or follows from the contract.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

const WIDTH: f64 = 760.0;
const PANEL_HEIGHT: f64 = 200.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const GAP: f64 = 56.0;

/// The model after some step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps trained.
    pub step: u64,
    /// The largest epsilon that a dataset has spent.
    pub epsilon: f64,
    /// Accuracy on the validation set, from 0 to 1, where there is one.
    pub accuracy: Option<f64>,
    /// Mean loss on the validation set, in nats, where there is one.
    pub loss: Option<f64>,
}

/// Draws the curves: a panel each for accuracy, loss and epsilon, over steps.
///
/// ```
/// use tributary_aggregator::{CurvePoint, curves_svg};
/// let point = |step, accuracy| CurvePoint { step, epsilon: 0.1, accuracy: Some(accuracy), loss: Some(1.0) };
/// let svg = curves_svg("Digits", &[point(0, 0.1), point(10, 0.9)]);
/// assert!(svg.starts_with("<svg") && svg.contains("accuracy"));
/// ```
pub fn curves_svg(title: &str, points: &[CurvePoint]) -> String {
    let accuracy = points
        .iter()
        .filter_map(|p| Some((p.step as f64, p.accuracy? * 100.0)));
    let loss = points.iter().filter_map(|p| Some((p.step as f64, p.loss?)));
    let epsilon = points.iter().map(|p| (p.step as f64, p.epsilon));
    let panels: Vec<Panel> = [
        (
            "accuracy on the validation set, %",
            "#1b7837",
            accuracy.collect::<Vec<_>>(),
        ),
        (
            "loss on the validation set, nats",
            "#b35806",
            loss.collect(),
        ),
        (
            "epsilon spent, at the contract's delta",
            "#542788",
            epsilon.collect(),
        ),
    ]
    .into_iter()
    .filter(|(_, _, points)| !points.is_empty())
    .map(|(label, colour, points)| Panel {
        label,
        colour,
        points,
    })
    .collect();
    let height = TOP + panels.len() as f64 * (PANEL_HEIGHT + GAP);
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">"
    );
    let _ = writeln!(
        svg,
        "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>",
        escape(title)
    );
    for (index, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, TOP + 16.0 + index as f64 * (PANEL_HEIGHT + GAP));
    }
    svg.push_str("</svg>\n");
    svg
}

struct Panel {
    label: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64) {
        let last_step = self.points.iter().map(|p| p.0).fold(1.0, f64::max);
        let lowest = self
            .points
            .iter()
            .map(|p| p.1)
            .fold(f64::INFINITY, f64::min);
        let highest = self
            .points
            .iter()
            .map(|p| p.1)
            .fold(f64::NEG_INFINITY, f64::max);
        let ticks = ticks(lowest.min(highest), highest);
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        let right = WIDTH - RIGHT;
        let x = |step: f64| LEFT + step / last_step * (right - LEFT);
        let y = |value: f64| top + PANEL_HEIGHT * (1.0 - (value - low) / (high - low));
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\">{}</text>",
            top - 8.0,
            self.label
        );
        for &tick in &ticks {
            let at = y(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                short(tick)
            );
        }
        for &tick in &self::ticks(0.0, last_step) {
            if tick <= last_step {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    x(tick),
                    top + PANEL_HEIGHT + 18.0,
                    short(tick)
                );
            }
        }
        let mut path = String::new();
        for (index, &(step, value)) in self.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(step), y(value));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
            self.colour
        );
        if let Some(&(step, value)) = self.points.last() {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.3}</text>",
                x(step),
                y(value),
                self.colour,
                x(step) - 6.0,
                y(value) - 8.0,
            );
        }
    }
}

/// Round numbers that span `low` to `high`, at least two.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let magnitude = 10f64.powf((span / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| span / step <= 5.0)
        .unwrap_or(10.0 * magnitude);
    let first = (low / step).floor();
    let last = ((high / step).ceil()).max(first + 1.0);
    (0..=(last - first) as u32)
        .map(|index| (first + f64::from(index)) * step)
        .collect()
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_values() {
        assert_eq!(
            ticks(0.0, 1.0),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        for (low, high) in [(0.0, 0.0), (97.1, 97.3), (-3.0, 12_345.0), (1e-7, 2e-7)] {
            let ticks = ticks(low, high);
            assert!(
                ticks.len() >= 2 && ticks.len() <= 8,
                "{low} {high} {ticks:?}"
            );
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high);
        }
    }

    #[test]
    fn titles_cannot_add_elements() {
        let svg = curves_svg(
            "<script>",
            &[CurvePoint {
                step: 1,
                epsilon: 1.0,
                accuracy: None,
                loss: None,
            }],
        );
        assert!(!svg.contains("<script>"));
        assert!(
            !svg.contains("accuracy"),
            "a panel without points is left out"
        );
    }
}
