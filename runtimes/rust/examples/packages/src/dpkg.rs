//! dpkg's status file: stanzas of `Field: value` lines, continued by lines that start with a blank.
//! Only what the database needs is kept, and only of packages that are installed.

use thiserror::Error;

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub section: String,
    /// KiB on disk, as dpkg estimates it.
    pub installed_kib: Option<u64>,
    /// The description's first line.
    pub summary: String,
    /// Depends and Pre-Depends: one entry per comma, each a choice of names.
    pub needs: Vec<Vec<Relation>>,
    /// Names that this package answers to beside its own.
    pub provides: Vec<String>,
}

/// A name in a dependency. Versions are not kept: dpkg has already held the installed packages to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    /// `:any` or `:amd64` follows the name: a package of another architecture will do.
    pub qualified: bool,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    #[error("line {0}: a field name and a colon expected")]
    NoColon(usize),
    #[error("line {0}: a continuation line before any field")]
    NoField(usize),
    #[error("line {0}: the stanza that begins here has no Package field")]
    NoPackage(usize),
    #[error("line {0}: field {1} is given twice in one stanza")]
    Twice(usize, String),
}

/// Reads a whole status file. Bytes that are not UTF-8 become replacement characters: a maintainer's
/// misspelt name is no reason to refuse the rest.
pub fn parse(bytes: &[u8]) -> Result<Vec<Package>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut packages = Vec::new();
    let mut stanza = Stanza::default();

    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        if line.trim().is_empty() {
            packages.extend(std::mem::take(&mut stanza).finish()?);
        } else {
            stanza.line(at, line)?;
        }
    }
    packages.extend(stanza.finish()?);
    Ok(packages)
}

/// The fields of one stanza, values with their continuation lines still in them.
#[derive(Default)]
struct Stanza {
    first_line: usize,
    fields: Vec<(String, String)>,
}

impl Stanza {
    fn line(&mut self, at: usize, line: &str) -> Result<(), ParseError> {
        if line.starts_with([' ', '\t']) {
            let (_, value) = self.fields.last_mut().ok_or(ParseError::NoField(at))?;
            value.push('\n');
            value.push_str(line.trim());
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or(ParseError::NoColon(at))?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(ParseError::NoColon(at));
        }
        if self.get(name).is_some() {
            return Err(ParseError::Twice(at, name.to_owned()));
        }
        if self.fields.is_empty() {
            self.first_line = at;
        }
        self.fields.push((name.to_owned(), value.trim().to_owned()));
        Ok(())
    }

    /// Field names are case-insensitive.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn finish(self) -> Result<Option<Package>, ParseError> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let name = self.text("Package");
        if name.is_empty() {
            return Err(ParseError::NoPackage(self.first_line));
        }
        if !is_installed(self.get("Status").unwrap_or_default()) {
            return Ok(None);
        }
        let mut needs = relations(self.get("Pre-Depends").unwrap_or_default());
        needs.extend(relations(self.get("Depends").unwrap_or_default()));
        let provides = relations(self.get("Provides").unwrap_or_default());

        Ok(Some(Package {
            name,
            version: self.text("Version"),
            architecture: self.text("Architecture"),
            section: self.text("Section"),
            installed_kib: self.get("Installed-Size").and_then(|kib| kib.parse().ok()),
            summary: self.get("Description").and_then(|d| d.lines().next()).unwrap_or_default().to_owned(),
            needs,
            provides: provides.into_iter().flatten().map(|relation| relation.name).collect(),
        }))
    }
}

/// Status is three words: what is wanted, the package's health, what it is. A held package
/// (`hold ok installed`) is as installed as any other; `config-files` is what a removed one leaves.
fn is_installed(status: &str) -> bool {
    let words: Vec<&str> = status.split_whitespace().collect();
    matches!(words[..], [_, "ok", "installed"])
}

/// `a (>= 1) | b:any, c [amd64]` as `[[a, b], [c]]`.
fn relations(field: &str) -> Vec<Vec<Relation>> {
    let choice = |group: &str| group.split('|').filter_map(relation).collect::<Vec<_>>();
    field.split(',').map(choice).filter(|choice| !choice.is_empty()).collect()
}

fn relation(text: &str) -> Option<Relation> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || "(:[<".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let qualified = rest.starts_with(':');
    (!name.is_empty()).then(|| Relation { name: name.to_owned(), qualified })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap().into_iter().map(|package| package.name).collect()
    }

    fn one(text: &str) -> Package {
        let mut packages = parse(text.as_bytes()).unwrap();
        assert_eq!(packages.len(), 1);
        packages.remove(0)
    }

    fn name(name: &str) -> Relation {
        Relation { name: name.to_owned(), qualified: false }
    }

    #[test]
    fn a_whole_stanza() {
        let package = one("Package: nginx\n\
             Status: install ok installed\n\
             Section: httpd\n\
             Installed-Size: 1334\n\
             Architecture: amd64\n\
             Version: 1.22.1-9+deb12u2\n\
             Provides: httpd, httpd-cgi (= 1)\n\
             Pre-Depends: init-helper\n\
             Depends: libc6 (>= 2.34), perl:any | awk,\n zlib1g\n\
             Conffiles:\n /etc/a 0123\n /etc/b 4567\n\
             Description: small, powerful web server\n Much: more of it.\n .\n The end.\n");
        assert_eq!(package.name, "nginx");
        assert_eq!(package.version, "1.22.1-9+deb12u2");
        assert_eq!(package.architecture, "amd64");
        assert_eq!(package.section, "httpd");
        assert_eq!(package.installed_kib, Some(1334));
        assert_eq!(package.summary, "small, powerful web server");
        assert_eq!(package.provides, ["httpd", "httpd-cgi"]);
        let perl = Relation { name: "perl".to_owned(), qualified: true };
        assert_eq!(
            package.needs,
            [vec![name("init-helper")], vec![name("libc6")], vec![perl, name("awk")], vec![name("zlib1g")]]
        );
    }

    #[test]
    fn only_what_is_installed() {
        let stanza = |name: &str, status: &str| format!("Package: {name}\nStatus: {status}\n\n");
        let text = stanza("there", "install ok installed")
            + &stanza("held", "hold ok installed")
            + &stanza("removed", "deinstall ok config-files")
            + &stanza("broken", "install reinstreq half-installed")
            + &stanza("unpacked", "install ok unpacked")
            + "Package: without-a-status\n";
        assert_eq!(names(&text), ["there", "held"]);
    }

    #[test]
    fn missing_fields_are_empty() {
        let package = one("Package: a\nStatus: install ok installed\n");
        let empty = Package { name: "a".to_owned(), ..Package::default() };
        assert_eq!(package, empty);
    }

    #[test]
    fn odd_values() {
        let package = one(
            "Package: a\nStatus: install ok installed\nInstalled-Size: many\nDescription:\n only a body\nDepends: , |,\n",
        );
        assert_eq!(package.installed_kib, None);
        assert_eq!(package.summary, "");
        assert!(package.needs.is_empty());
    }

    #[test]
    fn stanzas_are_apart_by_any_number_of_blank_lines() {
        let text = "\n\nPackage: a\nStatus: install ok installed\n\n \n\nPackage: b\nStatus: install ok installed";
        assert_eq!(names(text), ["a", "b"]);
        assert!(names("").is_empty());
    }

    #[test]
    fn line_ends_and_case() {
        assert_eq!(names("PACKAGE: a\r\nstatus: install ok installed\r\n"), ["a"]);
    }

    #[test]
    fn bytes_that_are_not_utf8() {
        let packages = parse(b"Package: a\nMaintainer: J\xf6rg\nStatus: install ok installed\n").unwrap();
        assert_eq!(packages.len(), 1);
    }

    #[test]
    fn errors_say_the_line() {
        let error = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert_eq!(error("Package: a\nnonsense\n"), ParseError::NoColon(2));
        assert_eq!(error("Package: a\n: b\n"), ParseError::NoColon(2));
        assert_eq!(error("\n continued\n"), ParseError::NoField(2));
        assert_eq!(error("Package: a\n\nStatus: install ok installed\n"), ParseError::NoPackage(3));
        assert_eq!(error("Package: a\npackage: b\n"), ParseError::Twice(2, "package".to_owned()));
    }
}
