//! The page of `sensor show --html`: valid, complete in itself, and safe whatever stands in the documents.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use base64::Engine as _;
use common::lines;
use common::program::{pair, run as replay};
use html5ever::tendril::TendrilSink as _;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Texts that would be markup, end an element, leave an attribute, or change what is displayed.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</pre></details></li></ol></main>",
    "</style><style>*{display:none}</style>",
    "<!-- &lt; &#0; ]]>",
    "\u{1b}[2J\u{202e}evil\u{0}\r\n",
    "javascript:alert(1)",
];

/// Alerts, each about a shell whose arguments hold such texts; one of them is very long.
fn alerts(number: usize) -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let mut events = Vec::new();
    for place in 0..number {
        for mut event in pair(&format!("p{place}"), i64::try_from(place).unwrap() * 10) {
            let hostile = HOSTILE[place % HOSTILE.len()];
            event["source"] = json!({"ip": "10.0.0.9", "port": 40000});
            event["host"]["name"] = json!(hostile);
            event["user"] = json!({"name": hostile, "id": hostile});
            event["process"]["pid"] = json!(place);
            event["process"]["executable"] = json!(hostile);
            event["process"]["args"] = json!(["bash", "-i", hostile]);
            event["process"]["parent"] =
                json!({"name": hostile, "pid": 1, "args": [hostile], "thread": {"name": hostile}});
            event["sensor"] =
                json!({"stdio": [hostile], "ancestors": [{"name": hostile, "pid": 1}, {"name": hostile, "pid": 0}]});
            events.push(event);
        }
    }
    events[1]["process"]["args"] = json!(["bash", "-i", "x".repeat(20_000)]);
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    replay(folder.path(), &["events"]).1
}

/// The page about documents.
fn page(documents: &[Value]) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("documents"), lines(documents)).unwrap();
    let (exit, out, err) = show(folder.path(), &["--html", "page.html", "documents"]);
    assert_eq!((exit, out.as_str(), err.as_str()), (0, "", ""));
    fs::read_to_string(folder.path().join("page.html")).unwrap()
}

fn show(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sensor")).arg("show").args(arguments).current_dir(folder).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, err)
}

/// The elements of a page, which must be valid: name, attributes, text.
type Element = (String, BTreeMap<String, String>, String);

fn elements(page: &str) -> Vec<Element> {
    let dom = parsed(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
    let mut all = Vec::new();
    walk(&dom.document, &mut all);
    all
}

fn parsed(page: &str) -> RcDom {
    parse_document(RcDom::default(), ParseOpts::default()).one(page)
}

fn walk(node: &Handle, all: &mut Vec<Element>) {
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attributes = attrs.borrow().iter().map(|one| (one.name.local.to_string(), one.value.to_string())).collect();
        let mut text = String::new();
        collect(node, &mut text);
        all.push((name.local.to_string(), attributes, text));
    }
    node.children.borrow().iter().for_each(|child| walk(child, all));
}

fn collect(node: &Handle, into: &mut String) {
    if let NodeData::Text { contents } = &node.data {
        into.push_str(&contents.borrow());
    }
    node.children.borrow().iter().for_each(|child| collect(child, into));
}

fn named<'e>(elements: &'e [Element], name: &str) -> Vec<&'e Element> {
    elements.iter().filter(|(own, _, _)| own == name).collect()
}

#[test]
fn hostile_texts_are_text() {
    let alerts = alerts(16);
    assert_eq!(alerts.len(), 16);
    let page = page(&alerts);
    let elements = elements(&page);
    let known = [
        "html", "head", "meta", "title", "style", "body", "header", "h1", "div", "label", "input", "select", "option",
        "output", "main", "section", "h2", "ol", "li", "details", "summary", "span", "time", "code", "p", "strong",
        "figure", "svg", "path", "text", "tspan", "circle", "dl", "dt", "dd", "pre", "script",
    ];
    for (name, attributes, _) in &elements {
        assert!(known.contains(&name.as_str()), "an element {name}");
        for name in attributes.keys() {
            assert!(
                !name.starts_with("on") && !["src", "href", "style", "action", "id"].contains(&name.as_str()),
                "{name}"
            );
        }
    }
    assert_eq!(["script", "style", "title"].map(|name| named(&elements, name).len()), [1; 3]);
    assert_eq!(["li", "svg", "pre"].map(|name| named(&elements, name).len()), [16; 3]);
    assert!(!page.contains(|one: char| (one.is_control() && one != '\n') || sensor::alert::text::is_invisible(one)));
    // The whole document is there, as it was.
    for ((_, _, text), alert) in
        named(&elements, "pre").iter().zip(&alerts).filter(|(_, alert)| !alert.to_string().contains('\u{202e}'))
    {
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *alert);
    }
}

#[test]
fn the_parser_finds_what_is_not_valid() {
    let valid = page(&alerts(1));
    for (from, to) in [("</summary>", ""), ("<pre>", "<pre></b>"), ("<!DOCTYPE html>", ""), ("<dl>", "<dl x x>")] {
        assert!(!parsed(&valid.replacen(from, to, 1)).errors.borrow().is_empty(), "{from}");
    }
}

#[test]
fn the_policy_allows_what_stands_in_the_page_and_nothing_else() {
    let elements = elements(&page(&alerts(2)));
    let policy = &named(&elements, "meta")[1].1["content"];
    let digest = |name: &str| {
        let text = &named(&elements, name)[0].2;
        format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text)))
    };
    let expected = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        digest("style"),
        digest("script")
    );
    assert_eq!(*policy, expected);
}

#[test]
fn everything_has_a_name_for_those_who_do_not_see_it() {
    let elements = elements(&page(&alerts(3)));
    assert_eq!(named(&elements, "html")[0].1["lang"], "en");
    for (_, attributes, _) in named(&elements, "svg") {
        assert!(attributes["role"] == "img" && attributes["aria-label"].contains("executed"), "{attributes:?}");
    }
    for (_, _, text) in [named(&elements, "label"), named(&elements, "summary"), named(&elements, "h2")].concat() {
        assert!(!text.trim().is_empty());
    }
    assert_eq!(named(&elements, "input").len() + named(&elements, "select").len(), named(&elements, "label").len());
}

#[test]
fn events_and_signs_of_life_have_lists_of_their_own() {
    let life = json!({"@timestamp": "2026-05-28T20:26:41Z", "event": {"dataset": "sensor.life"}, "log": {"level": "info"}, "message": "<b>"});
    let [connection, exec] = pair("p", 0);
    let elements = elements(&page(&[connection, life, exec]));
    let titles: Vec<&str> = named(&elements, "h2").iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(titles, ["The sensor", "Processes"]);
    assert_eq!(named(&elements, "circle").len(), 2);
    assert!(named(&elements, "summary")[0].2.contains("<b>"));
    let nothing = self::elements(&page(&[]));
    assert_eq!(named(&nothing, "p")[0].2, "There is nothing to show.");
}

#[test]
fn a_thousand_alerts_are_a_page_of_bounded_size() {
    let alerts = alerts(1000);
    let page = page(&alerts);
    assert_eq!(page.matches("<li ").count(), 1000);
    assert!(page.len() < 13_000_000, "{}", page.len());
}

#[test]
fn a_page_that_cannot_be_written_leaves_what_was_there() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("documents");
    fs::write(&file, lines(&alerts(1))).unwrap();
    let (exit, _, err) = show(folder.path(), &["--html", "absent/page.html", "documents"]);
    assert!(exit == 1 && err.starts_with("sensor show: cannot write: "), "{err}");
    fs::write(folder.path().join("page.html"), "before").unwrap();
    fs::write(&file, "no document\n").unwrap();
    let (exit, _, err) = show(folder.path(), &["--html", "page.html", "documents"]);
    assert!(exit == 1 && err.contains("documents:1: no JSON"), "{err}");
    assert!(fs::read_to_string(folder.path().join("page.html")).unwrap().ends_with("</html>\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
