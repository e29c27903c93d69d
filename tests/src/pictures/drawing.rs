//! What pictures are drawn with: shapes and texts in colours for a light and for a dark ground.

use std::fmt::Write as _;

/// Classes of shapes and texts. The colours are those of the sensor's page.
const STYLE: &str = "\
.ground { fill: #ffffff } .ink { fill: #15202b } .quiet { fill: #4a5968 } .box { fill: #f3f5f7; stroke: #b9c3cd }
.line { fill: none; stroke: #4a5968; stroke-width: 1.5 } .tip { fill: #4a5968 } .one { fill: #0b5c78 } .two { fill: #8a1c7c } .three { fill: #7a4b00 } .four { fill: #3b6b1e }
.none { fill: none; stroke: #4a5968 } .rest { fill: #b9c3cd }
@media (prefers-color-scheme: dark) {
.ground { fill: #12171c } .ink { fill: #e6edf3 } .quiet { fill: #a4b1bd } .box { fill: #1b2229; stroke: #46525e }
.line { stroke: #a4b1bd } .tip { fill: #a4b1bd } .one { fill: #7cd0ec } .two { fill: #f19be4 } .three { fill: #f2c063 } .four { fill: #a5d67f } .none { stroke: #a4b1bd } .rest { fill: #46525e }
}
text { font: 13px system-ui, sans-serif } .strong { font-weight: 700 } .code { font-family: ui-monospace, monospace } .right { text-anchor: end }
.middle { text-anchor: middle }";

/// A picture of a certain size, in pixels.
pub(super) struct Drawing {
    size: (usize, usize),
    label: &'static str,
    body: String,
}

impl Drawing {
    /// An empty one; the label is for those who do not see it.
    pub(super) fn new(size: (usize, usize), label: &'static str) -> Self {
        Self { size, label, body: String::new() }
    }

    pub(super) fn text(&mut self, (x, y): (usize, usize), class: &str, text: &str) {
        let _ = writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
    }

    /// A rectangle; who points at it is told more.
    pub(super) fn rectangle(
        &mut self,
        (x, y): (usize, usize),
        (width, height): (usize, usize),
        class: &str,
        more: &str,
    ) {
        let more = if more.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(more)) };
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\">{more}</rect>"
        );
    }

    /// Lines from point to point; an arrow ends in a tip, which points to the right or, if the last line goes down, downwards.
    pub(super) fn line(&mut self, points: &[(usize, usize)], is_arrow: bool) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let _ = writeln!(self.body, "<path class=\"line\" d=\"M{}\"/>", path.join("L"));
        if let ([.., (before, _), (x, y)], true) = (points, is_arrow) {
            let sides = if before == x { "l-4 -8h8" } else { "l-8 -4v8" };
            let _ = writeln!(self.body, "<path class=\"tip\" d=\"M{x} {y}{sides}z\"/>");
        }
    }

    pub(super) fn finish(self) -> String {
        let Self { size, label, body } = self;
        svg(size, label, STYLE, &format!("<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{body}"))
    }
}

/// The file of a picture; the label is for those who do not see it.
pub(super) fn svg((width, height): (usize, usize), label: &str, style: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>\n{style}\n</style>\n{body}</svg>\n"
    )
}

/// A text in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
