//! `[evidence]`: what alerts and events hold beyond what rules ask for, and what is taken out of them before they are told.

use super::parse::{self, Text};
use crate::detect::redact::{Pattern, Redactor};
use serde::de::{Deserialize, Deserializer, Error as _};
use std::path::PathBuf;

/// Most patterns: each is looked for in every argument that is told.
const MOST: usize = 64;
/// Longest pattern, in bytes.
const LONGEST: usize = 128;

/// Most variables of the environment.
const MOST_VARIABLES: usize = 32;

/// `[evidence]`: what is told beyond what rules ask for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Variables of a shell's environment that are told, by name.
    #[serde(deserialize_with = "names")]
    pub environment: Vec<String>,
    /// Where secrets stand in arguments.
    #[serde(deserialize_with = "patterns")]
    pub redact: Vec<Pattern>,
    /// Directories in which container runtimes keep what they call containers. Only a restart changes them.
    #[serde(deserialize_with = "directories")]
    pub runtimes: Vec<PathBuf>,
}

/// Where runtimes keep it unless they are told otherwise.
const RUNTIMES: [&str; 4] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/var/lib/containers/storage/overlay-containers",
    "/var/lib/containers/storage/vfs-containers",
    "/var/lib/docker/containers",
];
/// Most directories.
const MOST_DIRECTORIES: usize = 16;

/// Patterns that are in force unless others are given.
const DEFAULT: [&str; 17] = [
    "--password=*",
    "--password *",
    "--passwd=*",
    "--token=*",
    "--token *",
    "--secret=*",
    "--secret *",
    "--api-key=*",
    "--api-key *",
    "password=*",
    "passwd=*",
    "token=*",
    "secret=*",
    "api_key=*",
    "authorization: bearer *",
    "authorization: basic *",
    "://*@",
];

impl Default for Evidence {
    fn default() -> Self {
        let redact = DEFAULT.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Self { environment: Vec::new(), redact, runtimes: RUNTIMES.map(PathBuf::from).into() }
    }
}

impl Evidence {
    /// Takes out what is configured.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.redact.clone())
    }
}

/// A list of so many `things` at most.
fn at_most<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    most: usize,
    things: &str,
) -> Result<Vec<T>, D::Error> {
    let all = Vec::<T>::deserialize(deserializer)?;
    if all.len() > most {
        return Err(D::Error::custom(format_args!("{} {things}; allowed are {most}", all.len())));
    }
    Ok(all)
}

fn directories<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    struct Directory(PathBuf);
    impl<'de> Deserialize<'de> for Directory {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let path = parse::absolute_path(deserializer)?;
            path.map(Self).ok_or_else(|| D::Error::custom("no path"))
        }
    }
    let all = at_most::<Directory, D>(deserializer, MOST_DIRECTORIES, "directories")?;
    Ok(all.into_iter().map(|Directory(path)| path).collect())
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Name(String);
    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let allowed = "the name of a variable: 1 to 128 bytes without = and control characters";
            let read = |text: &str| match text.len() {
                1..=LONGEST if !text.contains(|one: char| one == '=' || one.is_control()) => Ok(Self(text.to_owned())),
                _ => Err(format!("{text:?} is none")),
            };
            deserializer.deserialize_str(Text { allowed, read })
        }
    }
    let all = at_most::<Name, D>(deserializer, MOST_VARIABLES, "variables")?;
    Ok(all.into_iter().map(|Name(name)| name).collect())
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    struct One(Pattern);
    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let allowed = "a text of up to 128 bytes without control characters, with one * where the secret stands, such as \"--password=*\"";
            let read = |text: &str| {
                if text.len() > LONGEST || text.contains(char::is_control) {
                    return Err(format!("{text:?} is too long, or has control characters"));
                }
                Pattern::parse(text).map(Self).map_err(|reason| format!("{text:?}: {reason}"))
            };
            deserializer.deserialize_str(Text { allowed, read })
        }
    }
    let all = at_most::<One, D>(deserializer, MOST, "patterns")?;
    Ok(all.into_iter().map(|One(pattern)| pattern).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_a_pattern() {
        let texts: Vec<String> = Evidence::default().redact.iter().map(Pattern::text).collect();
        assert_eq!(texts, DEFAULT);
    }

    #[test]
    fn both_lists_are_read_and_printed() {
        let text = "[evidence]\nredact = [\"X-Key: *\"]\nenvironment = [\"SSH_CONNECTION\"]\n";
        let config = parse::config(text).unwrap();
        assert_eq!(config.evidence.redact, [Pattern::parse("x-key: *").unwrap()]);
        assert_eq!(config.evidence.environment, ["SSH_CONNECTION"]);
        assert_eq!(parse::config(&config.to_toml()), Ok(config));
        let none = parse::config("[evidence]\nredact = []\n").unwrap();
        assert!(none.evidence.redact.is_empty() && none.kernel_slot().environment == 0);
        assert_eq!(parse::config(&none.to_toml()), Ok(none));
    }

    #[test]
    fn errors_name_the_place() {
        for (text, expected) in [
            ("redact = [\"x=*\", \"y\"]", "evidence.redact: \"y\": it has no * where the secret stands"),
            ("redact = [\"*\"]", "evidence.redact: \"*\": it needs two characters"),
            ("environment = [\"A\", \"B=C\"]", "evidence.environment: \"B=C\" is none"),
            ("environment = [\"\"]", "evidence.environment: \"\" is none"),
        ] {
            let error = parse::config(&format!("[evidence]\n{text}\n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let many = |key: &str, one: &str, most: usize| format!("evidence.{key} = [{}]", one.repeat(most + 1));
        for (text, expected) in [
            (many("redact", "\"abc=*\",", MOST), "65 patterns; allowed are 64"),
            (many("environment", "\"A\",", MOST_VARIABLES), "33 variables; allowed are 32"),
            (many("runtimes", "\"/x\",", MOST_DIRECTORIES), "17 directories; allowed are 16"),
        ] {
            assert!(parse::config(&text).unwrap_err().to_string().contains(expected));
        }
    }
}
