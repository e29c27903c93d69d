//! The page in a browser: what the documents hold does nothing, a thousand alerts are opened, filtered, sorted and grouped, keys work,
//! and everybody can read it, in light and in dark.

use super::Scene;
use super::browser::Browser;
use super::check::Report;
use super::fixture::{HOSTILE, MANY};
use super::validate::Tools;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::Path;

/// Layouts that one thing which a person does may take: what it changes, and that something appears or vanishes.
const LAYOUTS: f64 = 4.0;
const SCHEMES: [&str; 2] = ["light", "dark"];

pub(super) fn look(scene: &Scene, tools: Option<&Tools>, report: &mut Report) -> Result<()> {
    let mut browser = Browser::start()?;
    let (all, many) = (scene.page("all")?, scene.page("many")?);
    report.check("hostile texts do nothing in a browser", inert(&mut browser, &all));
    report.check("the policy stops what would get past", policy(&mut browser, scene, &all));
    report.check("keys reach and open everything", keys(&mut browser, &all));
    report.check("sorted and grouped alerts are the same alerts", arranged(&mut browser, &all));
    for scheme in SCHEMES {
        report.check(&format!("the page in {scheme}"), seen(&mut browser, scene, &all, scheme));
        if let Some(tools) = tools {
            report.check(&format!("everybody can read it in {scheme}"), accessible(&mut browser, tools));
        }
    }
    report.check(&format!("{MANY} alerts open, and are filtered, sorted and grouped"), large(&mut browser, &many));
    Ok(())
}

/// Opens a page; it must be without errors.
fn open(browser: &mut Browser, page: &Path) -> Result<()> {
    browser.open(page)?;
    is_well(browser)
}

/// That no script has failed, nothing was refused, nothing asked for, and no dialog opened.
fn is_well(browser: &Browser) -> Result<()> {
    for wrong in
        ["Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening"]
    {
        ensure!(browser.told(wrong).is_empty(), "{:?}", browser.told(wrong));
    }
    let requests = browser.told("Network.requestWillBeSent");
    ensure!(requests.len() == 1, "it asks for {} things: {requests:?}", requests.len());
    Ok(())
}

/// A number that an expression gives.
fn number(browser: &mut Browser, expression: &str) -> Result<u64> {
    browser.value(expression)?.as_u64().with_context(|| format!("`{expression}` is no number"))
}

fn is(browser: &mut Browser, expression: &str, wanted: impl Into<Value>) -> Result<()> {
    let (found, wanted) = (browser.value(expression)?, wanted.into());
    ensure!(found == wanted, "`{expression}` is {found} instead of {wanted}");
    Ok(())
}

/// Chooses an option, or types words, as far as the page can tell.
fn choose(browser: &mut Browser, name: &str, value: &str) -> Result<()> {
    let script = format!(
        "{{ const it = document.querySelector('[name={name}]'); it.value = {}; it.dispatchEvent(new Event('input')); }}",
        json!(value)
    );
    browser.value(&script).map(drop)
}

const SHOWN: &str =
    "Array.from(document.querySelectorAll('ol.list > li:not(.group)')).filter((row) => row.checkVisibility()).length";
const ORDER: &str = "Array.from(document.querySelectorAll('li[data-grade] time'), (time) => time.textContent).join()";

fn inert(browser: &mut Browser, page: &Path) -> Result<()> {
    open(browser, page)?;
    browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")?;
    is(browser, "document.title", "sensor: all")?;
    is(browser, "document.querySelectorAll('script, style').length", 2)?;
    is(browser, "document.querySelectorAll('img, a, iframe, object, embed, form, base, link').length", 0)?;
    is(browser, "document.querySelectorAll('li[data-grade]').length", HOSTILE.len() + 2)?;
    // Nothing that turns the direction of text, or is not seen.
    is(
        browser,
        "/[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff]/.test(document.body.textContent)",
        false,
    )?;
    is_well(browser)
}

/// A page into which markup has got nevertheless: nothing of it runs, and what looks for that sees it.
fn policy(browser: &mut Browser, scene: &Scene, page: &Path) -> Result<()> {
    let text = std::fs::read_to_string(page)?;
    let evil = "<script>window.owned = 1</script><img alt=\"\" src=\"x\" onerror=\"window.owned = 2\"></main>";
    let broken = scene.fixture.folder.path().join("broken.html");
    std::fs::write(&broken, text.replace("</main>", evil))?;
    browser.open(&broken)?;
    is(browser, "window.owned ?? 0", 0)?;
    let refused = browser.told("Log.entryAdded").len();
    ensure!(refused >= 2, "{refused} of a script, an image and a handler were refused");
    ensure!(is_well(browser).is_err(), "a page with a script of its own counts as well");
    Ok(())
}

fn keys(browser: &mut Browser, page: &Path) -> Result<()> {
    open(browser, page)?;
    browser.press("/", "/")?;
    is(browser, "document.activeElement.name", "words")?;
    is(browser, "document.activeElement.value", "")?;
    is(browser, "getComputedStyle(document.activeElement).outlineStyle", "solid")?;
    for letter in ["4", "4", "4", "4", " ", "e", "n", "d"] {
        browser.press(letter, letter)?;
    }
    let (shown, rows) = (number(browser, SHOWN)?, number(browser, "rows.length")?);
    ensure!(shown > 0 && shown < rows, "{shown} rows of {rows} with these words");
    is(browser, "document.querySelector('output').value", format!("{shown} of {rows} shown"))?;
    browser.press("Escape", "")?;
    is(browser, SHOWN, rows)?;
    // Through the other controls to the first row.
    for name in ["grade", "order", "group"] {
        browser.press("Tab", "")?;
        is(browser, "document.activeElement.name", name)?;
    }
    browser.press("Tab", "")?;
    let place =
        "Array.from(document.querySelectorAll('ol.list > li > details > summary')).indexOf(document.activeElement)";
    for (key, at) in [("", 0), ("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", 0)] {
        if !key.is_empty() {
            browser.press(key, "")?;
        }
        is(browser, place, at)?;
    }
    is(browser, "document.activeElement.parentElement.open", false)?;
    browser.press("Enter", "\r")?;
    is(browser, "document.activeElement.parentElement.open", true)?;
    // Into the row: a drawing that may be wider than the page, and the document.
    browser.press("Tab", "")?;
    is(browser, "document.activeElement.tagName", "FIGURE")?;
    browser.press("Tab", "")?;
    is(browser, "document.activeElement.textContent", "Document")?;
    is_well(browser)
}

fn arranged(browser: &mut Browser, page: &Path) -> Result<()> {
    open(browser, page)?;
    let (stored, rows) = (browser.value(ORDER)?, number(browser, SHOWN)?);
    let mut times: Vec<&str> = stored.as_str().unwrap_or_default().split(',').collect();
    ensure!(times.len() == HOSTILE.len() + 2 && times.is_sorted(), "{times:?}");
    times.reverse();
    choose(browser, "order", "newest")?;
    is(browser, ORDER, times.join(","))?;
    for group in ["rule", "host", "user", "peer"] {
        choose(browser, "group", group)?;
        is(browser, SHOWN, rows)?;
        let wanted =
            number(browser, &format!("new Set(alerts.map((alert) => alert.row.dataset.{group} || 'unknown')).size"))?;
        is(browser, "document.querySelectorAll('li.group h3').length", wanted)?;
        // Each row is below the heading of its group.
        let strays = format!(
            "alerts.filter(({{ row }}) => {{ let at = row; while (!at.matches('.group')) at = at.previousElementSibling; \
             return !at.textContent.startsWith(row.dataset.{group} || 'unknown'); }}).length"
        );
        is(browser, &strays, 0)?;
    }
    choose(browser, "words", "no such words")?;
    is(browser, SHOWN, 0)?;
    is(browser, "Array.from(document.querySelectorAll('h2, h3')).filter((one) => one.checkVisibility()).length", 0)?;
    for name in ["words", "group", "order"] {
        choose(browser, name, "")?;
    }
    is(browser, ORDER, stored)?;
    is(browser, SHOWN, rows)?;
    is_well(browser)
}

/// In a scheme: its own colours, no wider than a narrow or a wide window, and a picture of it.
fn seen(browser: &mut Browser, scene: &Scene, page: &Path, scheme: &str) -> Result<()> {
    browser.call(
        "Emulation.setEmulatedMedia",
        &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
    )?;
    open(browser, page)?;
    browser.value(
        "document.querySelectorAll('ol.list > li:nth-child(3n) > details').forEach((one) => { one.open = true; })",
    )?;
    let light =
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every((part) => part > 127)";
    is(browser, light, scheme == "light")?;
    for width in [320, 1200] {
        let metrics = json!({"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let wide = number(browser, "document.documentElement.scrollWidth")?;
        ensure!(wide <= width, "the page is {wide} pixels wide in a window of {width}");
        let picture = browser.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        let picture = picture.get("data").and_then(Value::as_str).context("no picture")?;
        let picture = base64::engine::general_purpose::STANDARD.decode(picture)?;
        std::fs::write(scene.pictures.join(format!("page-{scheme}-{width}.png")), picture)?;
    }
    is_well(browser)
}

/// By axe-core: nothing is against the rules that it can tell, with rows open and grouped.
fn accessible(browser: &mut Browser, tools: &Tools) -> Result<()> {
    choose(browser, "group", "host")?;
    browser.value(&format!("{};0", tools.axe))?;
    let found = browser.value(
        "axe.run({resultTypes: ['violations']}).then(({violations, passes}) => ({passes: passes.length, violations: violations.map(\
         ({id, help, nodes}) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' and ')}`)}))",
    )?;
    let violations = found.get("violations").and_then(Value::as_array).context("no result")?;
    ensure!(violations.is_empty(), "{}", violations.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"));
    let passes = found.get("passes").and_then(Value::as_u64).unwrap_or_default();
    ensure!(passes >= 15, "only {passes} of its rules looked at anything");
    Ok(())
}

fn large(browser: &mut Browser, page: &Path) -> Result<()> {
    let before = browser.metric("TaskDuration")?;
    open(browser, page)?;
    is(browser, SHOWN, MANY)?;
    let opened = browser.metric("TaskDuration")? - before;
    println!("        opened: {:.0} ms on a processor", opened * 1000.0);
    for (what, name, value) in [
        ("the first word", "words", "host"),
        ("a word of some", "words", "owned"),
        ("no word", "words", ""),
        ("sorted", "order", "newest"),
        ("grouped", "group", "peer"),
        ("filtered by severity", "grade", "medium"),
        ("as stored", "group", ""),
    ] {
        let (layouts, tasks) = (browser.metric("LayoutCount")?, browser.metric("TaskDuration")?);
        choose(browser, name, value)?;
        // Laid out by now, if it was not.
        let shown = number(browser, SHOWN)?;
        number(browser, "document.body.scrollHeight")?;
        let (layouts, tasks) = (browser.metric("LayoutCount")? - layouts, browser.metric("TaskDuration")? - tasks);
        println!("        {what}: {shown} shown, {layouts} layouts, {:.0} ms on a processor", tasks * 1000.0);
        ensure!(layouts <= LAYOUTS, "{what}: {layouts} layouts");
        ensure!(shown > 0, "{what}: nothing is shown");
    }
    is_well(browser)
}
