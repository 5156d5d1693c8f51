//! Which interpreter is meant: a libpython, and the python3 that it takes itself for. From the
//! latter CPython finds its standard library, or a venv and its packages.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

/// The oldest and the newest minor version of Python 3. Newer ones lack what the start needs.
pub const MINORS: std::ops::RangeInclusive<u32> = 11..=14;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    pub libpython: PathBuf,
    pub venv: Option<PathBuf>,
    /// sys.executable; not known where the libpython stands alone.
    pub program: Option<PathBuf>,
}

impl Python {
    /// There is one interpreter in a process. An error where the two want different ones.
    pub fn same_as(&self, other: &Self) -> Result<(), String> {
        let named = |venv: &Option<PathBuf>| venv.as_ref().map_or("none".into(), |venv| venv.display().to_string());
        if self.venv != other.venv {
            return Err(format!(
                "option \"venv\": all Python runtimes share one interpreter, and another one has the venv {}, this one {}. \
                 Give both the same",
                named(&self.venv),
                named(&other.venv)
            ));
        }
        if self.libpython != other.libpython {
            return Err(format!(
                "option \"libpython\": all Python runtimes share one interpreter, and another one has {}, this one {}. \
                 Give both the same",
                self.libpython.display(),
                other.libpython.display()
            ));
        }
        Ok(())
    }
}

pub fn python(venv: Option<&Path>, libpython: Option<&str>) -> Result<Python, String> {
    let venv = venv.map(Venv::read).transpose()?;
    let libpython = match (libpython, &venv) {
        (Some(named), _) => named_library(named)?,
        (None, Some(venv)) => venv.library()?,
        (None, None) => newest_library()?,
    };
    let minor = minor_of(&libpython);
    if let (Some(venv), Some(minor)) = (&venv, minor)
        && venv.minor != minor
    {
        return Err(format!(
            "option \"venv\": {} is of Python 3.{}, but {} is of 3.{minor}",
            venv.dir.display(),
            venv.minor,
            libpython.display()
        ));
    }
    let program = match &venv {
        Some(venv) => Some(venv.dir.join("bin/python3")),
        None => program_of(&libpython, minor),
    };
    Ok(Python { libpython, venv: venv.map(|venv| venv.dir), program })
}

struct Venv {
    dir: PathBuf,
    /// The folder of the python3 that it was made with.
    home: PathBuf,
    minor: u32,
}

impl Venv {
    fn read(dir: &Path) -> Result<Self, String> {
        let about = |what: String| format!("option \"venv\": {}: {what}", dir.display());
        let hint = "is it a venv? python3 -m venv makes one";
        let dir = dir.canonicalize().map_err(|e| about(e.to_string()))?;
        let config =
            fs::read_to_string(dir.join("pyvenv.cfg")).map_err(|e| about(format!("pyvenv.cfg: {e}; {hint}")))?;
        let value = |names: &[&str]| {
            config.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                names.contains(&name.trim()).then(|| value.trim().to_owned())
            })
        };
        let version = value(&["version", "version_info"]).unwrap_or_default();
        let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next()).and_then(|n| n.parse().ok());
        let minor = minor.ok_or_else(|| about(format!("pyvenv.cfg names no version of Python 3; {hint}")))?;
        let home = value(&["home"]).ok_or_else(|| about(format!("pyvenv.cfg names no home; {hint}")))?.into();
        if !dir.join("bin/python3").exists() {
            return Err(about("there is no bin/python3 in it; make it anew with python3 -m venv --clear".into()));
        }
        Ok(Self { dir, home, minor })
    }

    /// Beside the Python that it was made with, else one of that version in the system.
    fn library(&self) -> Result<PathBuf, String> {
        let file = library_file(self.minor);
        let home = self.home.canonicalize().unwrap_or_else(|_| self.home.clone());
        let near = home.parent().map(|prefix| vec![prefix.join("lib"), prefix.join("lib").join(multiarch())]);
        let dirs: Vec<PathBuf> = near.unwrap_or_default().into_iter().chain(system_dirs()).collect();
        dirs.iter().map(|dir| dir.join(&file)).find_map(|path| path.canonicalize().ok()).ok_or_else(|| {
            format!(
                "option \"venv\": {} is of Python 3.{}, and there is no {file} in {}. On Debian: apt install \
                 libpython3.{}. Or name one with the option \"libpython\"",
                self.dir.display(),
                self.minor,
                shown(&dirs),
                self.minor
            )
        })
    }
}

fn named_library(name: &str) -> Result<PathBuf, String> {
    let candidates = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        system_dirs().into_iter().map(|dir| dir.join(name)).collect()
    };
    let found = candidates.iter().find_map(|path| path.canonicalize().ok());
    let found = found.ok_or_else(|| format!("option \"libpython\": there is no {}", shown(&candidates)))?;
    match minor_of(&found) {
        Some(minor) if !MINORS.contains(&minor) => Err(format!(
            "option \"libpython\": {} is Python 3.{minor}; 3.{} to 3.{} are supported",
            found.display(),
            MINORS.start(),
            MINORS.end()
        )),
        _ => Ok(found),
    }
}

fn newest_library() -> Result<PathBuf, String> {
    let dirs = system_dirs();
    let all = MINORS.rev().flat_map(|minor| dirs.iter().map(move |dir| dir.join(library_file(minor))));
    all.into_iter().find_map(|path| path.canonicalize().ok()).ok_or_else(|| {
        format!(
            "no libpython3.{} or later in {}. On Debian: apt install libpython3.11. Or name one with the option \
             \"libpython\"",
            MINORS.start(),
            shown(&dirs)
        )
    })
}

/// The python3 that belongs to a library: PREFIX/bin/python3.N for PREFIX/lib or PREFIX/lib/ARCH.
fn program_of(libpython: &Path, minor: Option<u32>) -> Option<PathBuf> {
    let name = format!("bin/python3.{}", minor?);
    libpython.ancestors().skip(2).take(2).map(|prefix| prefix.join(&name)).find(|path| path.exists())
}

fn library_file(minor: u32) -> String {
    format!("libpython3.{minor}.so.1.0")
}

fn minor_of(libpython: &Path) -> Option<u32> {
    let rest = libpython.file_name()?.to_str()?.strip_prefix("libpython3.")?;
    rest.split('.').next()?.parse().ok()
}

fn multiarch() -> String {
    format!("{ARCH}-linux-gnu")
}

fn system_dirs() -> Vec<PathBuf> {
    let named = ["/usr/local/lib".to_owned(), format!("/usr/lib/{}", multiarch())];
    named.into_iter().chain(["/usr/lib".to_owned(), "/usr/lib64".to_owned()]).map(PathBuf::from).collect()
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("nffi-python-find-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    /// PREFIX with a libpython3.MINOR, a python3.MINOR and a venv made of it.
    fn installation(name: &str, minor: u32, venv_minor: u32) -> PathBuf {
        let prefix = folder(name);
        for dir in ["bin", "lib", "venv/bin"] {
            fs::create_dir_all(prefix.join(dir)).expect("a folder");
        }
        let home = prefix.join("bin");
        for file in
            [format!("lib/libpython3.{minor}.so.1.0"), format!("bin/python3.{minor}"), "venv/bin/python3".into()]
        {
            fs::write(prefix.join(file), "").expect("a file");
        }
        let config = format!("home = {}\nversion = 3.{venv_minor}.2\n", home.display());
        fs::write(prefix.join("venv/pyvenv.cfg"), config).expect("a file");
        prefix.canonicalize().expect("it is there")
    }

    #[test]
    fn a_venv_brings_its_own_library() {
        let prefix = installation("own", 12, 12);
        let found = python(Some(&prefix.join("venv")), None).expect("all is there");
        assert_eq!(found.libpython, prefix.join("lib/libpython3.12.so.1.0"));
        assert_eq!(found.program, Some(prefix.join("venv/bin/python3")));
        fs::remove_dir_all(prefix).expect("gone");
    }

    #[test]
    fn a_library_of_another_version_than_the_venv_is_refused() {
        let prefix = installation("other", 12, 13);
        let library = prefix.join("lib/libpython3.12.so.1.0");
        let said = python(Some(&prefix.join("venv")), library.to_str()).expect_err("two versions");
        assert!(said.contains("3.13") && said.contains("3.12"), "{said}");
        let alone = python(None, library.to_str()).expect("without the venv it is right");
        assert_eq!(alone.program, Some(prefix.join("bin/python3.12")));
        fs::remove_dir_all(prefix).expect("gone");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = folder("empty");
        assert!(python(Some(&dir), None).expect_err("no venv").contains("python3 -m venv"));
        assert!(python(Some(Path::new("/nonexistent")), None).expect_err("none").contains("/nonexistent"));
        assert!(python(None, Some("/nonexistent/lib.so")).expect_err("none").contains("/nonexistent/lib.so"));
        fs::write(dir.join("libpython3.9.so.1.0"), "").expect("a file");
        let old = dir.join("libpython3.9.so.1.0");
        assert!(python(None, old.to_str()).expect_err("too old").contains("3.11"));
        fs::remove_dir_all(dir).expect("gone");
    }

    #[test]
    fn two_interpreters_cannot_be() {
        let one = Python { libpython: "/l".into(), venv: None, program: None };
        let venv = Python { venv: Some("/v".into()), ..one.clone() };
        let library = Python { libpython: "/m".into(), ..one.clone() };
        assert!(one.same_as(&one).is_ok());
        assert!(one.same_as(&venv).expect_err("differ").contains("/v"));
        assert!(one.same_as(&library).expect_err("differ").contains("/m"));
    }
}
