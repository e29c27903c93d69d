//! Alerts and timelines as one page of HTML that needs nothing else: no network, no other file.
//!
//! Everything that comes from a document goes through [`escape`]. Besides, the page's own policy allows no scripts and styles but the
//! two that stand in it, by their digests, and nothing to be loaded or sent: a text that got past would still do nothing.

mod svg;

use super::block::facts;
use super::picture::Picture;
use super::sheet::MOST_MARKS;
use super::timeline::Timeline;
use crate::alert::text::printable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use std::net::SocketAddr;
use unicode_width::UnicodeWidthChar as _;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Severities, by which the page filters.
const GRADES: [&str; 4] = ["low", "medium", "high", "critical"];
/// What the page can sort alerts by: how its script calls it, and a person.
const ORDERS: [(&str, &str); 3] =
    [("newest", "newest first"), ("oldest", "oldest first"), ("grade", "most severe first")];
/// What the page can group alerts by, which each row has as data: how its script calls it, and a person.
const GROUPS: [(&str, &str); 4] = [("rule", "rule"), ("host", "host"), ("user", "user"), ("peer", "far end")];

/// A page that is being written.
#[derive(Debug)]
pub struct Page<W> {
    out: W,
    /// The list that is open.
    list: Option<List>,
    rows: u64,
}

/// The parts of a page, which come in any order and any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Alerts,
    Life,
    Processes,
}

impl List {
    fn title(self) -> &'static str {
        match self {
            Self::Alerts => "Alerts",
            Self::Life => "The sensor",
            Self::Processes => "Processes",
        }
    }
}

impl<W: Write> Page<W> {
    /// Begins a page.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(mut out: W, title: &str) -> io::Result<Self> {
        let title = escape(title);
        let grades: String = GRADES.iter().map(|grade| format!("<option>{grade}</option>")).collect();
        let [orders, groups] = [&ORDERS[..], &GROUPS[..]].map(|options| {
            options.iter().map(|(value, name)| format!("<option value=\"{value}\">{name}</option>")).collect::<String>()
        });
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; \
             form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
             <div class=\"filter\" role=\"search\">\n\
             <label>Words, in any order (key /)<input type=\"search\" name=\"words\" autocomplete=\"off\"></label>\n\
             <label>Severity<select name=\"grade\"><option value=\"\">all</option>{grades}</select></label>\n\
             <label>Order<select name=\"order\"><option value=\"\">as stored</option>{orders}</select></label>\n\
             <label>Groups<select name=\"group\"><option value=\"\">none</option>{groups}</select></label>\n\
             <output aria-live=\"polite\"></output>\n</div>\n</header>\n<main>\n",
            digest(STYLE),
            digest(SCRIPT),
        )?;
        Ok(Self { out, list: None, rows: 0 })
    }

    /// Adds an alert.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn alert(&mut self, alert: &Value) -> io::Result<()> {
        self.open(List::Alerts)?;
        let picture = Picture::of(alert);
        let grade = picture
            .severity
            .as_deref()
            .and_then(|own| GRADES.into_iter().find(|grade| *grade == own))
            .unwrap_or("high");
        let host = picture.details.iter().find(|(name, _)| *name == "host").map(|(_, host)| host.clone());
        let remote = picture.connection.as_ref().map(|arrow| format!("{} {}", arrow.sign(), arrow.remote));
        let shell = picture.shell().map(|shell| match &shell.command {
            Some(command) => short(command, 120),
            None => shell.title().to_owned(),
        });
        let user = picture.shell().and_then(|shell| shell.user.clone());
        let peer = picture.connection.as_ref().map(|arrow| address(&arrow.remote));
        write!(self.out, "<li data-grade=\"{grade}\"")?;
        for ((name, _), value) in GROUPS.iter().zip([picture.rule.clone(), host.clone(), user, peer]) {
            write!(self.out, " data-{name}=\"{}\"", escape(&short(&value.unwrap_or_default(), 100)))?;
        }
        writeln!(
            self.out,
            "><details><summary><span class=\"grade {grade}\">{}</span> <time>{}</time> <span>{}</span> \
             <code>{}</code> <code>{}</code></summary>",
            escape(&picture.grade()),
            escape(picture.time.as_deref().unwrap_or("no time")),
            escape(&host.map(|host| format!("on {host}")).unwrap_or_default()),
            escape(shell.as_deref().unwrap_or_default()),
            escape(remote.as_deref().unwrap_or_default()),
        )?;
        writeln!(self.out, "<p><strong>{}</strong></p>", escape(&picture.heading()))?;
        writeln!(self.out, "<figure tabindex=\"0\">{}</figure>", svg::tree(&picture, grade))?;
        let why = picture.why.iter().map(|why| ("why", why));
        self.details(why.chain(picture.details.iter().map(|(name, text)| (*name, text))))?;
        self.document(alert)?;
        writeln!(self.out, "</details></li>")
    }

    /// Adds what the sensor tells of itself.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn life(&mut self, life: &Value) -> io::Result<()> {
        self.open(List::Life)?;
        let text = |place: &str| life.pointer(place).and_then(Value::as_str).unwrap_or_default();
        writeln!(
            self.out,
            "<li><details><summary><time>{}</time> <span>{}</span> <span>{}</span></summary>",
            escape(text("/@timestamp")),
            escape(text("/log/level")),
            escape(&short(text("/message"), 1000)),
        )?;
        self.document(life)?;
        writeln!(self.out, "</details></li>")
    }

    /// Adds what a process did.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn timeline(&mut self, timeline: &Timeline) -> io::Result<()> {
        self.open(List::Processes)?;
        let first = timeline.entries.first().map(|entry| entry.time.as_str()).unwrap_or_default();
        writeln!(
            self.out,
            "<li><details><summary><time>{}</time> <strong>{}</strong> <span>{}</span> <span class=\"quiet\">{}</span></summary>",
            escape(first),
            escape(&short(timeline.program.title(), 60)),
            escape(&short(&timeline.facts(), 300)),
            match timeline.entries.len() {
                1 => "1 event".to_owned(),
                number => format!("{number} events"),
            },
        )?;
        writeln!(self.out, "<figure tabindex=\"0\">{}</figure>", svg::timeline(timeline))?;
        writeln!(self.out, "</details></li>")
    }

    /// Ends the page, with a remark if there is one; what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, remark: Option<&str>) -> io::Result<W> {
        self.close()?;
        if self.rows == 0 {
            writeln!(self.out, "<p>There is nothing to show.</p>")?;
        }
        if let Some(remark) = remark {
            writeln!(self.out, "<p>{}</p>", escape(remark))?;
        }
        write!(self.out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn open(&mut self, list: List) -> io::Result<()> {
        self.rows += 1;
        if self.list == Some(list) {
            return Ok(());
        }
        self.close()?;
        self.list = Some(list);
        write!(self.out, "<section>\n<h2>{}</h2>\n<ol class=\"list\">\n", list.title())
    }

    fn close(&mut self) -> io::Result<()> {
        match self.list.take() {
            Some(_) => write!(self.out, "</ol>\n</section>\n"),
            None => Ok(()),
        }
    }

    fn details<'t>(&mut self, details: impl Iterator<Item = (&'t str, &'t String)>) -> io::Result<()> {
        let mut details = details.peekable();
        if details.peek().is_none() {
            return Ok(());
        }
        write!(self.out, "<dl>")?;
        for (name, text) in details {
            write!(self.out, "<dt>{name}</dt><dd>{}</dd>", escape(&short(text, 4000)))?;
        }
        writeln!(self.out, "</dl>")
    }

    fn document(&mut self, document: &Value) -> io::Result<()> {
        let text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
        // The ends of lines are the printer's own: within a text they are spelled.
        write!(self.out, "<details><summary>Document</summary><pre>")?;
        for line in text.split('\n') {
            writeln!(self.out, "{}", escape(line))?;
        }
        writeln!(self.out, "</pre></details>")
    }
}

/// A text for a person, of a bounded length.
fn short(text: &str, most: usize) -> String {
    super::sheet::elided(text, most)
}

/// The address alone of an end of a connection.
fn address(end: &str) -> String {
    end.parse::<SocketAddr>().map_or_else(|_| end.to_owned(), |end| end.ip().to_string())
}

/// What a process is, in a line.
fn line(program: &super::program::Program) -> String {
    short(&facts(program), 200)
}

/// A text as HTML shows it, in an element and in an attribute; what is not printable is spelled, and so are accents that would pile up
/// over other rows.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut marks = 0;
    for character in printable(text).chars() {
        marks = if character.width() == Some(0) { marks + 1 } else { 0 };
        match character {
            pile if marks > MOST_MARKS => escaped.extend(pile.escape_unicode()),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// How a policy names a text that it allows (CSP level 2, `'sha256-…'`).
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<a b='c' d=\"e\">&\u{0}\u{202e}"),
            r"&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;\u{0}\u{202e}"
        );
        assert_eq!(escape("e\u{301}\u{301}\u{301}f\u{301}"), "e\u{301}\u{301}\\u{301}f\u{301}");
    }

    #[test]
    fn the_script_and_the_style_cannot_end_their_elements() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--"));
        }
    }
}
