//! The command line, checked in full before anything is done.

#[derive(Debug, PartialEq, Default)]
pub struct SandboxOptions {
    pub hostname: Option<String>,
    pub share_net: bool,
}

#[derive(Debug, PartialEq)]
pub struct Bind {
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, PartialEq, Default)]
pub struct EnterOptions {
    pub pid: i32,
    pub fresh_root: bool,
    pub read_only: bool,
    pub binds: Vec<Bind>,
    pub chdir: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub no_new_privileges: bool,
    pub argv: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub enum Command {
    Netns(Vec<String>),
    Sandbox(SandboxOptions),
    Enter(EnterOptions),
}

pub fn parse(words: &[String]) -> Result<Command, String> {
    let (verb, rest) = words.split_first().ok_or("a command is missing")?;
    match verb.as_str() {
        "netns" => Ok(Command::Netns(after_dashes(rest)?)),
        "sandbox" => sandbox(rest).map(Command::Sandbox),
        "enter" => enter(rest).map(Command::Enter),
        other => Err(format!("unknown command {other:?}")),
    }
}

fn after_dashes(words: &[String]) -> Result<Vec<String>, String> {
    match words.split_first() {
        Some((dashes, argv)) if dashes == "--" && !argv.is_empty() => Ok(argv.to_vec()),
        _ => Err("`-- CMD` is missing".into()),
    }
}

fn sandbox(words: &[String]) -> Result<SandboxOptions, String> {
    let mut options = SandboxOptions::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hostname" => options.hostname = Some(value(word, words.next())?),
            "--share-net" => options.share_net = true,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(options)
}

fn enter(words: &[String]) -> Result<EnterOptions, String> {
    let mut words = words.iter();
    let pid = number::<i32>("PID", words.next())?;
    if pid < 1 {
        return Err(format!("PID must be positive, not {pid}"));
    }
    let mut options = EnterOptions { pid, ..EnterOptions::default() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--root" => options.fresh_root = true,
            "--read-only" => options.read_only = true,
            "--bind" => options.binds.push(bind(&value(word, words.next())?)?),
            "--chdir" => options.chdir = Some(value(word, words.next())?),
            "--uid" => options.uid = Some(number(word, words.next())?),
            "--gid" => options.gid = Some(number(word, words.next())?),
            "--no-new-privileges" => options.no_new_privileges = true,
            "--" => {
                options.argv = words.cloned().collect();
                break;
            }
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    if options.argv.is_empty() {
        return Err("`-- CMD` is missing".into());
    }
    if !options.fresh_root && (options.read_only || !options.binds.is_empty()) {
        return Err("--bind and --read-only need --root".into());
    }
    Ok(options)
}

fn value(option: &str, word: Option<&String>) -> Result<String, String> {
    word.cloned().ok_or_else(|| format!("{option} needs a value"))
}

fn number<T: std::str::FromStr>(option: &str, word: Option<&String>) -> Result<T, String> {
    let text = value(option, word)?;
    text.parse().map_err(|_| format!("{option} must be a number, not {text:?}"))
}

/// `SRC:DST[:ro]`, both absolute. A colon inside a path cannot be written.
fn bind(text: &str) -> Result<Bind, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts.as_slice() {
        [source, target] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err(format!("--bind must be SRC:DST or SRC:DST:ro, not {text:?}")),
    };
    let climbs = target.split('/').any(|part| part == "..");
    if !source.starts_with('/') || !target.starts_with('/') || climbs {
        return Err(format!("--bind needs absolute paths without `..`, not {text:?}"));
    }
    Ok(Bind { source: (*source).into(), target: (*target).into(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn enter_takes_everything() {
        let parsed = parse(&words(
            "enter 42 --root --bind /a:/b:ro --uid 7 --gid 8 --chdir /c --no-new-privileges -- sh -c x",
        ));
        assert_eq!(
            parsed,
            Ok(Command::Enter(EnterOptions {
                pid: 42,
                fresh_root: true,
                read_only: false,
                binds: vec![Bind { source: "/a".into(), target: "/b".into(), read_only: true }],
                chdir: Some("/c".into()),
                uid: Some(7),
                gid: Some(8),
                no_new_privileges: true,
                argv: words("sh -c x"),
            }))
        );
    }

    #[test]
    fn sandbox_takes_its_options() {
        let expected = SandboxOptions { hostname: Some("a".into()), share_net: true };
        assert_eq!(parse(&words("sandbox --hostname a --share-net")), Ok(Command::Sandbox(expected)));
    }

    #[test]
    fn faults_are_refused() {
        for (line, fault) in [
            ("dance", "unknown command \"dance\""),
            ("netns sh", "`-- CMD` is missing"),
            ("netns --", "`-- CMD` is missing"),
            ("sandbox --hostname", "--hostname needs a value"),
            ("enter", "PID needs a value"),
            ("enter x -- sh", "PID must be a number, not \"x\""),
            ("enter 0 -- sh", "PID must be positive, not 0"),
            ("enter 1", "`-- CMD` is missing"),
            ("enter 1 --bind /a:/b -- sh", "--bind and --read-only need --root"),
            ("enter 1 --root --bind a:/b -- sh", "--bind needs absolute paths without `..`, not \"a:/b\""),
            (
                "enter 1 --root --bind /a:/../b -- sh",
                "--bind needs absolute paths without `..`, not \"/a:/../b\"",
            ),
            (
                "enter 1 --root --bind /a:/b:rw -- sh",
                "--bind must be SRC:DST or SRC:DST:ro, not \"/a:/b:rw\"",
            ),
        ] {
            assert_eq!(parse(&words(line)), Err(fault.into()), "{line}");
        }
    }
}
