//! The one JVM of the process.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jni::{JavaVM, sys};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::libjvm::{self, Found};

const JAR: &str = "nffi.jar";

/// With what a JVM is started. Two Java runtimes of a process must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    jvm: Found,
    jar: PathBuf,
    options: Vec<String>,
}

impl Settings {
    pub fn new(jvm: Found, jar: Option<&Path>, options: &[String]) -> Result<Self, String> {
        let jar = match jar {
            Some(jar) => std::fs::canonicalize(jar).map_err(|error| format!("nffi_jar {}: {error}", jar.display()))?,
            None => jar_beside_library()?,
        };
        Ok(Self { jvm, jar, options: options.to_vec() })
    }

    /// The first thing in which the two differ.
    fn differs(&self, from: &Self) -> Option<&'static str> {
        let java_home = (self.jvm != from.jvm).then_some("java_home");
        let jvm_option = (self.options != from.options).then_some("jvm_option");
        java_home.or(jvm_option).or((self.jar != from.jar).then_some("nffi_jar"))
    }

    /// Ours first: of two that contradict each other the JVM takes the later one.
    fn arguments(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = [
            "-Xrs",                        // leaves HUP, INT, QUIT and TERM to nginx
            "-XX:-UsePerfData",            // no file in /tmp for each worker
            "-XX:+DisableAttachMechanism", // which would use SIGQUIT
            "-XX:ErrorFile=/tmp/hs_err_pid%p.log",
        ]
        .map(|option| option.as_bytes().to_vec())
        .into();
        // The one with the fewest threads; two collectors at once are refused by the JVM.
        if !self.options.iter().any(|option| option.starts_with("-XX:+Use") && option.ends_with("GC")) {
            all.push(b"-XX:+UseSerialGC".to_vec());
        }
        // By default a JVM takes a quarter of the memory, and each worker has one.
        if !self.options.iter().any(|option| sizes_heap(option)) {
            all.extend([b"-Xms16m".to_vec(), b"-Xmx256m".to_vec()]);
        }
        all.extend(self.options.iter().map(|option| option.as_bytes().to_vec()));
        all.push([b"-Djava.class.path=", self.jar.as_os_str().as_bytes()].concat());
        all
    }
}

fn sizes_heap(option: &str) -> bool {
    ["-Xms", "-Xmx"].iter().any(|prefix| option.starts_with(prefix))
        || ["HeapSize", "RAMPercentage", "MaxRAM"].iter().any(|part| option.contains(part))
}

static CHECKED: Mutex<Option<Settings>> = Mutex::new(None);
static RUNNING: Mutex<Option<(Settings, JavaVM)>> = Mutex::new(None);

/// No step below a lock leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All checks of one reading of the configuration run in one process: the first one's settings are kept.
pub fn agree(settings: &Settings) -> Result<(), String> {
    let mut checked = lock(&CHECKED);
    match checked.as_ref().and_then(|other| settings.differs(other)) {
        Some(what) => Err(disagreement(what)),
        None => {
            checked.get_or_insert_with(|| settings.clone());
            Ok(())
        }
    }
}

fn disagreement(what: &str) -> String {
    format!(
        "{what}: differs from that of another Java runtime. A process has one JVM: give all Java runtimes the same {what}"
    )
}

/// The JVM that runs, or a new one. Runs on: a start thread.
pub fn start(settings: &Settings) -> Result<JavaVM, String> {
    let mut running = lock(&RUNNING);
    if let Some((with, vm)) = running.as_ref() {
        return match settings.differs(with) {
            Some(what) => Err(disagreement(what)),
            None => Ok(vm.clone()),
        };
    }
    let vm = create(&settings.jvm.library, settings.arguments())?;
    *running = Some((settings.clone(), vm.clone()));
    Ok(vm)
}

/// The JVM that runs, whoever started it; else one of default settings.
pub fn start_any() -> Result<JavaVM, String> {
    if let Some((_, vm)) = lock(&RUNNING).as_ref() {
        return Ok(vm.clone());
    }
    start(&Settings::new(libjvm::find(None)?, None, &[])?)
}

/// The calling thread stays attached: it ends soon, and is detached then.
fn create(library: &Path, arguments: Vec<Vec<u8>>) -> Result<JavaVM, String> {
    type Create = unsafe extern "system" fn(*mut *mut sys::JavaVM, *mut *mut c_void, *mut c_void) -> sys::jint;

    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| "jvm_option: has a zero byte in it".to_owned());
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut options: Vec<sys::JavaVMOption> = arguments
        .iter()
        .map(|text| sys::JavaVMOption { optionString: text.as_ptr().cast_mut(), extraInfo: ptr::null_mut() })
        .collect();
    options.push(sys::JavaVMOption { optionString: c"vfprintf".as_ptr().cast_mut(), extraInfo: print as *mut c_void });
    let mut args = sys::JavaVMInitArgs {
        version: sys::JNI_VERSION_10,
        nOptions: options.len() as sys::jint,
        options: options.as_mut_ptr(),
        ignoreUnrecognized: sys::JNI_FALSE,
    };
    let (mut vm, mut env) = (ptr::null_mut(), ptr::null_mut());
    lock(&PRINTED).clear();
    // SAFETY: libjvm is what it is called; the arguments live until the call returns. JNI_CreateJavaVM has this type.
    let rc = unsafe {
        let libjvm = Library::open(Some(library), RTLD_NOW | RTLD_LOCAL).map_err(|error| error.to_string())?;
        let create =
            *libjvm.get::<Create>(b"JNI_CreateJavaVM").map_err(|error| format!("{}: {error}", library.display()))?;
        // Never closed: its threads run until the process ends.
        std::mem::forget(libjvm);
        create(&raw mut vm, &raw mut env, (&raw mut args).cast())
    };
    if rc != sys::JNI_OK {
        let printed = lock(&PRINTED).trim().replace('\n', "; ");
        return Err(format!("the JVM did not start ({rc}): {printed}. See jvm_option"));
    }
    // SAFETY: JNI_CreateJavaVM succeeded.
    Ok(unsafe { JavaVM::from_raw(vm) })
}

/// What the JVM said while it started.
static PRINTED: Mutex<String> = Mutex::new(String::new());
const MOST_PRINTED: usize = 4096;

unsafe extern "C" {
    /// A va_list is passed as a pointer on the machines that this is for; Rust has no name for the type yet.
    fn vsnprintf(out: *mut c_char, size: usize, format: *const c_char, args: *mut c_void) -> c_int;
}

/// The JVM's vfprintf. What a JVM has to say when it ends the process (a heap larger than the memory) is on
/// stderr as well, since nobody is left to ask.
unsafe extern "C" fn print(_to: *mut libc::FILE, format: *const c_char, args: *mut c_void) -> c_int {
    let mut line = [0u8; 1024];
    // SAFETY: the JVM's own format and arguments, handed on as they are; the result fits the array.
    let len = unsafe { vsnprintf(line.as_mut_ptr().cast(), line.len(), format, args) };
    let text = CStr::from_bytes_until_nul(&line).unwrap_or_default().to_bytes();
    let _ = std::io::stderr().write_all(text);
    let mut printed = lock(&PRINTED);
    if printed.len() < MOST_PRINTED {
        printed.push_str(&String::from_utf8_lossy(text));
    }
    len
}

/// Beside libnffi_java.so, as it was loaded or where a link to it leads.
fn jar_beside_library() -> Result<PathBuf, String> {
    let library = own_path().ok_or("where this library is cannot be told: say nffi_jar")?;
    let canonical = std::fs::canonicalize(&library).unwrap_or_else(|_| library.clone());
    let beside = [library, canonical].map(|path| path.with_file_name(JAR));
    let found = beside.iter().find_map(|jar| std::fs::canonicalize(jar).ok());
    found.ok_or_else(|| format!("no {}: put {JAR} beside the library, or say nffi_jar", beside[0].display()))
}

fn own_path() -> Option<PathBuf> {
    // SAFETY: zeroes are a Dl_info; the address is of this library's own code, the name the linker's.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(own_path as *const c_void, &raw mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(library: &str, options: &[&str]) -> Settings {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let jvm = Found { library: library.into(), version: Some(17) };
        Settings::new(jvm, Some(Path::new("/dev/null")), &options).unwrap()
    }

    #[test]
    fn what_differs_is_named() {
        let first = settings("/a", &["-Xmx1g"]);
        assert_eq!(first.differs(&first.clone()), None);
        assert_eq!(settings("/a", &["-Xmx2g"]).differs(&first), Some("jvm_option"));
        assert_eq!(settings("/b", &["-Xmx1g"]).differs(&first), Some("java_home"));
    }

    fn arguments(options: &[&str], prefix: &str) -> Vec<String> {
        let all = settings("/a", options).arguments().into_iter().map(|a| String::from_utf8_lossy(&a).into_owned());
        all.filter(|argument| argument.starts_with(prefix)).collect()
    }

    #[test]
    fn one_collector_only() {
        assert_eq!(arguments(&["-Xmx1g"], "-XX:+Use"), ["-XX:+UseSerialGC"]);
        assert_eq!(arguments(&["-XX:+UseParallelGC"], "-XX:+Use"), ["-XX:+UseParallelGC"]);
    }

    #[test]
    fn a_heap_of_their_own() {
        assert_eq!(arguments(&[], "-Xm"), ["-Xms16m", "-Xmx256m"]);
        assert_eq!(arguments(&["-Xmx8m"], "-Xm"), ["-Xmx8m"]);
        assert_eq!(arguments(&["-XX:MaxRAMPercentage=5"], "-Xm"), [""; 0]);
    }

    #[test]
    fn a_jar_that_is_not_there_is_named() {
        let jvm = Found { library: "/a".into(), version: None };
        let error = Settings::new(jvm, Some(Path::new("/no/such.jar")), &[]).unwrap_err();
        assert!(error.starts_with("nffi_jar /no/such.jar: No such file"), "{error}");
    }
}
