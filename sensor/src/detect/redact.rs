//! Takes secrets out of arguments before they are told, and never what a rule has found there.
//!
//! Rules and exceptions judge the arguments as they are; what leaves the sensor afterwards holds a mark in the place of each secret.
//! A document judged again without its secrets, as a replay does it, gives the same answer: an argument that a rule asks for
//! keeps what it asks for.

use super::eql::{like, searchable};
use super::rule::{Condition, RULES};
use crate::event::facts::Field;
use crate::event::{Args, readable};
use std::borrow::Cow;

/// Stands for a secret.
const MARK: &str = "[redacted]";

/// Where a secret stands: behind a text, and, where there is one, in front of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// In small letters.
    before: String,
    after: String,
}

impl Pattern {
    /// From the form in which it is configured: a text with one `*` where the secret stands.
    ///
    /// # Errors
    /// What it would need.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once('*') {
            None => Err("it has no * where the secret stands"),
            Some((_, after)) if after.contains('*') => Err("it has more than one *"),
            Some((before, _)) if before.trim().len() < 2 => Err("it needs two characters in front of the *"),
            Some((before, after)) => Ok(Self { before: before.to_ascii_lowercase(), after: after.to_owned() }),
        }
    }

    /// As it is configured.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}*{}", self.before, self.after)
    }

    /// Where the first secret in an argument stands, from this byte on.
    fn find(&self, argument: &[u8], from: usize) -> Option<(usize, usize)> {
        let before = self.before.as_bytes();
        let mut at = from;
        loop {
            let rest = argument.get(at..)?;
            let start =
                at + rest.windows(before.len()).position(|some| some.eq_ignore_ascii_case(before))? + before.len();
            let secret = argument.get(start..)?;
            // An option has the whole argument for its value; elsewhere a secret is one word.
            let option = start == before.len() && before.starts_with(b"-");
            let word =
                if option { secret.len() } else { secret.iter().position(|byte| ends(*byte)).unwrap_or(secret.len()) };
            let len = if self.after.is_empty() { Some(word) } else { last(secret.get(..word)?, self.after.as_bytes()) };
            match len {
                Some(len) if len > 0 && secret.get(..len)? != MARK.as_bytes() => return Some((start, start + len)),
                _ => at = start,
            }
        }
    }

    /// Whether the argument behind this one is the secret.
    fn announces(&self, argument: &[u8]) -> bool {
        self.after.is_empty()
            && self.before.strip_suffix(' ').is_some_and(|word| argument.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Whether a word ends in front of this byte: spaces, quotes, and what ends a word in a shell, a URL or its query.
fn ends(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"'\"`&;|<>()".contains(&byte)
}

/// Where the last occurrence of a text begins, in front of the path of a URL.
fn last(word: &[u8], text: &[u8]) -> Option<usize> {
    let word = word.split(|byte| *byte == b'/').next()?;
    word.windows(text.len()).rposition(|some| some == text)
}

/// Takes secrets out of arguments.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    patterns: Vec<Pattern>,
}

impl Redactor {
    /// One that knows secrets by these patterns.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns }
    }

    /// The arguments without secrets, and marked as such; none if there are no secrets in them. `field` is where rules look for them.
    #[must_use]
    pub fn args(&self, args: &Args, field: Field) -> Option<Args> {
        if self.patterns.is_empty() {
            return None;
        }
        let mut announced = false;
        let mut redacted = false;
        let mut told = Vec::with_capacity(args.copied.len());
        for argument in &args.copied {
            let whole = std::mem::replace(&mut announced, self.patterns.iter().any(|one| one.announces(argument)));
            let without = if whole { Some(MARK.as_bytes().to_vec()) } else { self.without_secrets(argument) };
            let without = without.map(|without| keep_evidence(argument, without, field));
            redacted |= without.as_ref().is_some_and(|without| without != argument);
            told.push(without.unwrap_or_else(|| argument.clone()));
        }
        redacted.then(|| Args { copied: told, redacted, ..args.clone() })
    }

    fn without_secrets(&self, argument: &[u8]) -> Option<Vec<u8>> {
        let mut told = Cow::Borrowed(argument);
        for pattern in &self.patterns {
            let mut from = 0;
            while let Some((start, end)) = pattern.find(&told, from) {
                told.to_mut().splice(start..end, MARK.bytes());
                from = start + MARK.len();
            }
        }
        match told {
            Cow::Borrowed(_) => None,
            Cow::Owned(told) => Some(told),
        }
    }
}

/// The argument without secrets in a form in which each rule finds in it what it has found before, and nothing else.
fn keep_evidence(argument: &[u8], without: Vec<u8>, field: Field) -> Vec<u8> {
    let found = |argument: &[u8], pattern: &str| {
        let (text, _) = readable(argument);
        searchable(&text) && like(&text, pattern)
    };
    let same = |told: &[u8]| asked(field).all(|pattern| found(told, pattern) == found(argument, pattern));
    if same(&without) {
        return without;
    }
    // What was asked for stood in the secret, or stands in what became short enough to be searched.
    let words = asked(field).filter(|pattern| found(argument, pattern) && !found(&without, pattern));
    let words: Vec<&str> = words.map(|pattern| pattern.trim_matches('*')).collect();
    let with = [without.as_slice(), b" ", words.join(" ").as_bytes()].concat();
    [with, MARK.as_bytes().to_vec()].into_iter().find(|told| same(told)).unwrap_or_else(|| argument.to_vec())
}

/// What rules ask of arguments.
fn asked(field: Field) -> impl Iterator<Item = &'static str> {
    fn within(condition: &'static Condition, field: Field, into: &mut Vec<&'static str>) {
        match condition {
            Condition::Is(of, texts) | Condition::Like(of, texts) if *of == field => into.extend(*texts),
            Condition::Any(conditions) | Condition::All(conditions) => {
                conditions.iter().for_each(|one| within(one, field, into));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    RULES.iter().for_each(|rule| within(&rule.exec.condition, field, &mut all));
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

#[cfg(test)]
mod tests;
