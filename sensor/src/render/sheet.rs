//! Lines of text for a terminal, none of them wider than it is, and nothing in them that a terminal would obey.

use super::look::Look;
use crate::alert::text::is_invisible;
use anstyle::Style;
use unicode_width::UnicodeWidthChar as _;

/// Characters without a width of their own, such as accents, that may follow another one.
pub(super) const MOST_MARKS: usize = 2;

/// Lines that are being written.
#[derive(Debug)]
pub struct Sheet {
    look: Look,
    out: String,
}

/// A part of a line: its text may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'p> {
    style: Style,
    text: &'p str,
    /// Whether a line may end within it.
    whole: bool,
}

/// A text in its style, which lines may break at spaces.
#[must_use]
pub fn words(style: Style, text: &str) -> Piece<'_> {
    Piece { style, text, whole: false }
}

/// A text in its style that stays on one line if that is wide enough.
#[must_use]
pub fn whole(style: Style, text: &str) -> Piece<'_> {
    Piece { style, text, whole: true }
}

/// A character as it stands on a line.
#[derive(Clone, Copy, Debug)]
struct Cell {
    character: char,
    width: usize,
    style: Style,
    /// A space at which a line may end.
    breaks: bool,
}

impl Sheet {
    /// An empty one.
    #[must_use]
    pub fn new(look: Look) -> Self {
        Self { look, out: String::new() }
    }

    /// What has been written.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }

    /// Columns of a line.
    #[must_use]
    pub fn width(&self) -> usize {
        self.look.width
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.out.push('\n');
    }

    /// Writes pieces one behind the other, with a space between them, on as many lines as they need. The first line begins
    /// with `first`, the others with `rest`, both of the sensor's own making.
    pub fn flow(&mut self, (first, rest): (&str, &str), pieces: &[Piece<'_>]) {
        let mut cells = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.text.is_empty()) {
            if !cells.is_empty() {
                cells.push(Cell { character: ' ', width: 1, style: Style::new(), breaks: true });
            }
            piece.put(&mut cells);
        }
        let mut cells = &cells[..];
        let mut start = first;
        loop {
            let room = self.look.width.saturating_sub(columns(start)).max(2);
            let (line, left) = split(cells, room);
            self.line(start, line);
            cells = left;
            start = rest;
            if cells.is_empty() {
                break;
            }
        }
    }

    fn line(&mut self, start: &str, cells: &[Cell]) {
        let drawn = Style::new().dimmed();
        let mut style = Style::new();
        let start = if cells.is_empty() { start.trim_end() } else { start };
        let start = start.chars().map(|character| Cell { character, width: 1, style: drawn, breaks: false });
        for cell in start.chain(cells.iter().copied()) {
            if self.look.colour && cell.style != style {
                self.out.push_str(&format!("{}{}", style.render_reset(), cell.style.render()));
                style = cell.style;
            }
            self.out.push(cell.character);
        }
        if self.look.colour {
            self.out.push_str(&style.render_reset().to_string());
        }
        self.out.push('\n');
    }
}

impl Piece<'_> {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn put(&self, cells: &mut Vec<Cell>) {
        let Self { style, text, whole } = *self;
        let mut marks = 0;
        let mut push = |character: char, width: usize| {
            cells.push(Cell { character, width, style, breaks: character == ' ' && !whole });
        };
        for character in text.chars() {
            let width = character.width().unwrap_or(0);
            marks = if width == 0 { marks + 1 } else { 0 };
            if character.is_control() || is_invisible(character) || marks > MOST_MARKS {
                character.escape_unicode().for_each(|letter| push(letter, 1));
                marks = 0;
            } else {
                push(character, width);
            }
        }
    }
}

/// The cells of a line, and what is left for the following ones.
fn split(cells: &[Cell], room: usize) -> (&[Cell], &[Cell]) {
    let mut used = 0;
    let mut at_space = None;
    for (place, cell) in cells.iter().enumerate() {
        if used + cell.width > room {
            // A line that would be less than half full is filled, wherever that breaks it.
            return match at_space {
                _ if cell.breaks => cut(cells, place, 1),
                Some((space, before)) if before * 2 >= room => cut(cells, space, 1),
                _ => cut(cells, place, 0),
            };
        }
        if cell.breaks {
            at_space = Some((place, used));
        }
        used += cell.width;
    }
    (cells, &[])
}

/// What is before a place, and what is behind so many cells after it.
fn cut(cells: &[Cell], place: usize, skipped: usize) -> (&[Cell], &[Cell]) {
    (cells.get(..place).unwrap_or_default(), cells.get(place + skipped..).unwrap_or_default())
}

/// As much of a text as one line of so many columns takes.
#[must_use]
pub fn one_line(text: &str, width: usize) -> String {
    let mut cells = Vec::new();
    whole(Style::new(), text).put(&mut cells);
    let (line, _) = split(&cells, width);
    line.iter().map(|cell| cell.character).collect()
}

/// Columns of a text that the sensor has made itself, of which each character has one.
fn columns(own: &str) -> usize {
    own.chars().count()
}

/// A text of at most about `most` characters: of a longer one the beginning and the end, and between them how much is missing.
#[must_use]
pub fn elided(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let (head, tail) = (most * 2 / 3, most / 3);
    let place = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(place, _)| place);
    let (head_end, tail_start) = (place(head), place(count - tail));
    let [head_text, tail_text] = [text.get(..head_end), text.get(tail_start..)].map(Option::unwrap_or_default);
    format!("{head_text}\u{2026}[{} characters]\u{2026}{tail_text}", count - head - tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr as _;

    fn sheet(width: usize, start: (&str, &str), pieces: &[Piece<'_>]) -> String {
        let mut sheet = Sheet::new(Look { width, colour: false });
        sheet.flow(start, pieces);
        sheet.finish()
    }

    #[test]
    fn lines_break_at_spaces_and_whole_pieces_stay_whole() {
        let plain = Style::new();
        let text = sheet(12, ("* ", "  "), &[words(plain, "one two three"), whole(plain, "a b"), words(plain, "c")]);
        assert_eq!(text, "* one two\n  three a b\n  c\n");
        assert_eq!(sheet(8, ("", ""), &[words(plain, "0123456789abcdef x")]), "01234567\n89abcdef\nx\n");
        assert_eq!(sheet(9, ("  ", "  "), &[]), "\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(
            sheet(5, ("", ""), &[words(Style::new(), "\u{6f22}\u{5b57}\u{6f22}")]),
            "\u{6f22}\u{5b57}\n\u{6f22}\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled() {
        let evil = "\u{1b}[2Ja\u{9b}31m\u{7}\u{202e}b\u{200f}\u{e0041}\r\n";
        let text = sheet(200, ("", ""), &[words(Style::new(), evil)]);
        assert_eq!(text, r"\u{1b}[2Ja\u{9b}31m\u{7}\u{202e}b\u{200f}\u{e0041}\u{d}\u{a}".to_owned() + "\n");
        let stacked = sheet(200, ("", ""), &[words(Style::new(), &format!("e{}", "\u{301}".repeat(5)))]);
        assert_eq!(stacked, "e\u{301}\u{301}\\u{301}\u{301}\u{301}\n");
    }

    #[test]
    fn one_line_takes_as_much_as_fits() {
        assert_eq!(one_line("a b c", 3), "a b");
        assert_eq!(one_line("\u{6f22}\u{5b57}\n", 3), "\u{6f22}");
        assert_eq!(one_line("", 3), "");
    }

    #[test]
    fn colour_begins_and_ends_on_each_line() {
        let mut sheet = Sheet::new(Look { width: 20, colour: true });
        sheet.flow(("", ""), &[words(Style::new().bold(), "bold"), words(Style::new(), "plain")]);
        assert_eq!(sheet.finish(), "\u{1b}[1mbold\u{1b}[0m plain\n");
    }

    #[test]
    fn of_a_long_text_the_beginning_and_the_end_are_left() {
        assert_eq!(elided("abc", 3), "abc");
        assert_eq!(elided(&format!("begin{}end", "x".repeat(1000)), 9), "beginx\u{2026}[999 characters]\u{2026}end");
        assert_eq!(
            elided("\u{6f22}\u{5b57}\u{6f22}\u{5b57}", 3),
            "\u{6f22}\u{5b57}\u{2026}[1 characters]\u{2026}\u{5b57}"
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal_and_no_control_character_comes_out(
            width in 24..210_usize,
            texts in proptest::collection::vec("\\PC{0,80}|[\u{0}-\u{300}\u{3000}-\u{30ff}\u{200b}-\u{206f}\u{1f000}-\u{1faff}]{0,200}", 0..6),
        ) {
            let pieces: Vec<Piece<'_>> = texts.iter().enumerate().map(|(place, text)| {
                if place % 2 == 0 { words(Style::new(), text) } else { whole(Style::new().bold(), text) }
            }).collect();
            let text = sheet(width, ("   ", "     "), &pieces);
            for line in text.lines() {
                prop_assert!(line.width() <= width, "{line:?}");
                prop_assert!(!line.contains(|one: char| one.is_control() || is_invisible(one)), "{line:?}");
            }
        }
    }
}
