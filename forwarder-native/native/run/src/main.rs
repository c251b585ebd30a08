//! Namespaces for the local mesh, which needs what Node.js cannot do: unshare, setns and mount between fork and exec.
//!
//! Every process made here dies with the one that asked for it, so that nothing outlives a killed daemon.

mod args;
mod enter;
mod rootfs;
mod sandbox;
mod sys;

use args::Command;

const USAGE: &str = "usage:
  nsm-run netns -- CMD...                 replace this process by CMD in a new network namespace
  nsm-run sandbox [--hostname NAME] [--share-net]
                                          hold namespaces for a node or pod; prints `ready PID`
  nsm-run enter PID [options] -- CMD...   run CMD in the namespaces of PID
    --root                 on a private, writable copy of this machine's root file system
    --bind SRC:DST[:ro]    with SRC at DST (needs --root)
    --read-only            with a root file system that cannot be written (needs --root)
    --chdir DIR  --uid UID  --gid GID  --no-new-privileges";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = match args::parse(&words) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("nsm-run: {message}\n{USAGE}");
            std::process::exit(2);
        }
    };
    let result = match command {
        Command::Netns(argv) => sandbox::exec_in_new_netns(&argv),
        Command::Sandbox(options) => sandbox::hold(&options),
        Command::Enter(options) => enter::run(&options),
    };
    match result {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            eprintln!("nsm-run: {error}");
            std::process::exit(125);
        }
    }
}
