//! The pictures of the documents, drawn from what the project has: an alert of a real run as the sensor shows it on a terminal and on its
//! page, the committed costs, the table of techniques. `cargo xtask pictures` writes them to `docs/pictures`; a test compares.
//!
//! They are SVG, which is text, so that a change can be read.

mod architecture;
mod charts;
mod drawing;
mod terminal;

use anyhow::{Context, Result};
use sensor::render::block::block;
use sensor::render::look::Look;
use sensor::render::page::Page;
use serde_json::Value;
use std::path::Path;

/// An alert as a sensor on a host wrote it, when the command of the README was run there in a shell; what is older than that shell is left
/// out, as it would be if there were more than eight ancestors.
const ALERT: &str = include_str!("pictures/alert.json");
/// Columns of the terminal.
const COLUMNS: usize = 100;

/// Writes all pictures to a folder.
pub(crate) fn write(folder: &Path) -> Result<()> {
    for (name, picture) in all()? {
        let path = folder.join(name);
        std::fs::write(&path, picture).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Every picture, by the name of its file.
fn all() -> Result<[(&'static str, String); 5]> {
    let alert: Value = serde_json::from_str(ALERT)?;
    Ok([
        ("architecture.svg", architecture::picture()),
        ("terminal.svg", terminal::picture(&block(&alert, Look { width: COLUMNS, colour: true }), COLUMNS)),
        ("page.svg", page(&alert)?),
        ("cost.svg", charts::cost()?),
        ("coverage.svg", charts::coverage()),
    ])
}

/// The drawing that the page has for an alert, with the page's own style.
fn page(alert: &Value) -> Result<String> {
    let mut page = Page::begin(Vec::new(), "an alert")?;
    page.alert(alert)?;
    let page = String::from_utf8(page.finish(None)?)?;
    let between = |from: &str, to: &str| page.split_once(from)?.1.split_once(to).map(|(text, _)| text.to_owned());
    let style = between("<style>", "</style>").context("no style")?;
    let drawing = between("<svg ", "</svg>").context("no drawing")?;
    let (attributes, content) = drawing.split_once('>').context("no content")?;
    // In the page the ground is the page's.
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {attributes}>\n<style><![CDATA[{style}]]></style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill: var(--ground)\"/>\n{}\n</svg>\n",
        content.replace("</text>", "</text>\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_pictures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
        for (name, picture) in all().unwrap() {
            let there = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(there == picture, "{name} is another one now: run `cargo xtask pictures`");
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), all().unwrap().len());
    }
}
