//! Kernel series, and the packages that hold their kernels.

use anyhow::{Context, Result};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A kernel series such as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    major: u32,
    minor: u32,
}

/// The oldest series that the sensor supports.
pub(crate) const OLDEST: Series = Series { major: 5, minor: 10 };

impl Display for Series {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { major, minor } = self;
        write!(f, "{major}.{minor}")
    }
}

impl FromStr for Series {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        let (major, minor) = numbers.with_context(|| format!("`{text}` is no kernel series such as 6.12"))?;
        Ok(Self { major, minor })
    }
}

/// Digits alone: `parse` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Which kernels are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every series that can be had, from the oldest supported one on.
    All,
    /// The newest series that can be had.
    Newest,
    /// This series.
    Only(Series),
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            "newest" => Ok(Self::Newest),
            series => Ok(Self::Only(series.parse()?)),
        }
    }
}

/// The series asked for out of those known, each once, the oldest first; an error names one that is not known.
pub(crate) fn select(wanted: &[Wanted], known: &[Series]) -> Result<Vec<Series>> {
    let mut selected = Vec::new();
    for wanted in wanted {
        match wanted {
            Wanted::All => selected.extend(known),
            Wanted::Newest => selected.extend(known.iter().max()),
            Wanted::Only(series) => {
                let known = known.contains(series);
                anyhow::ensure!(known, "no kernel of series {series} can be had");
                selected.push(*series);
            }
        }
    }
    anyhow::ensure!(!selected.is_empty(), "no kernel can be had");
    selected.sort_unstable();
    selected.dedup();
    Ok(selected)
}

/// What a package's name says of the kernel in it. Debian's cloud kernels have what the sensor needs built in, and are
/// small. Up to 6.18 the kernel lies in `linux-image-…`, later in `linux-binary-…`, and `linux-image-…` only refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackageName {
    pub(crate) series: Series,
    /// The kernel's own name for itself, such as `6.12.117+deb13-cloud-amd64`.
    pub(crate) release: String,
    /// Whether it is `linux-binary-…`.
    pub(crate) binary: bool,
}

/// Reads a package's name; none if it holds no cloud kernel for this processor, as Debian calls it.
pub(crate) fn package_name(name: &str, debian_arch: &str) -> Option<PackageName> {
    let (binary, release) = match name.strip_prefix("linux-binary-") {
        Some(release) => (true, release),
        None => (false, name.strip_prefix("linux-image-")?),
    };
    let version = release.strip_suffix(&format!("-cloud-{debian_arch}"))?;
    // Without a third number it is a package that always refers to the newest one.
    let mut numbers = version.splitn(3, '.');
    let (major, minor) = (number(numbers.next()?)?, number(numbers.next()?)?);
    let third = numbers.next()?.bytes().next()?;
    third.is_ascii_digit().then(|| PackageName { series: Series { major, minor }, release: release.to_owned(), binary })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> Series {
        text.parse().unwrap()
    }

    #[test]
    fn series_are_ordered_by_number() {
        assert!(series("5.10") < series("6.1") && series("6.1") < series("6.12") && series("6.2") < series("6.12"));
        assert_eq!(series("6.12").to_string(), "6.12");
        for wrong in ["6", "6.", ".1", "6.1.2", "six.one", "+6.1", "", "6.1-rc1"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_packages() {
        let name =
            |name: &str| package_name(name, "amd64").map(|name| (name.series.to_string(), name.release, name.binary));
        let is = |series: &str, release: &str, binary| Some((series.to_owned(), release.to_owned(), binary));
        assert_eq!(name("linux-image-6.1.0-56-cloud-amd64"), is("6.1", "6.1.0-56-cloud-amd64", false));
        let release = "6.12.117+deb13-cloud-amd64";
        assert_eq!(name(&format!("linux-image-{release}")), is("6.12", release, false));
        assert_eq!(name("linux-binary-7.3.4+deb13-cloud-amd64"), is("7.3", "7.3.4+deb13-cloud-amd64", true));
        for other in [
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-arm64",
            "linux-image-6.1.0-56-amd64",
            "linux-headers-6.1.0-56-cloud-amd64",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn each_series_asked_for_is_taken_once() {
        let known = ["7.3", "5.10", "6.1"].map(series);
        let wanted = ["newest", "6.1", "7.3"].map(|text| text.parse().unwrap());
        assert_eq!(select(&wanted, &known).unwrap(), ["6.1", "7.3"].map(series));
        assert_eq!(select(&[Wanted::All], &known).unwrap(), ["5.10", "6.1", "7.3"].map(series));
        let error = select(&[Wanted::Only(series("5.4"))], &known).unwrap_err().to_string();
        assert!(error.contains("5.4"), "{error}");
        assert!(select(&[Wanted::All], &[]).is_err());
    }
}
