//! Components in a registry: pushed, pulled, locked, and run. The registry is Debian's
//! `docker-registry`, on this machine.

#[path = "../../host/registry/tests/support/proxy.rs"]
mod proxy;
#[path = "../../host/registry/tests/support/real.rs"]
mod real;

use std::fs;

use crate::harness::{Case, Ran};
use real::Registry;

/// A folder with a stage that comes with the program as a file.
fn case(stage: &str) -> Case {
    let found = pipehost_stages::STAGES.iter().find(|s| s.name == stage).unwrap();
    Case::new().file("stage.wasm", found.component)
}

fn run(case: &Case, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = case.command(arguments);
    command.env_clear().env("XDG_CACHE_HOME", case.path("cache"));
    fs::create_dir_all(case.path("cache")).unwrap();
    command.envs(environment.iter().copied());
    case.run_command(command)
}

fn pipeline(plugin: &str) -> String {
    format!(
        "[[source]]\nname = \"in\"\ntype = \"stdin\"\n[[stage]]\nname = \"s\"\nplugin = \"{plugin}\"\n\
         input = \"in\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"s\"\n"
    )
}

#[test]
fn a_component_is_pushed_pulled_and_run_by_its_digest() {
    let Some(registry) = Registry::start() else { return };
    let case = case("to-upper").stdin("a\n");
    let place = format!("oci://127.0.0.1:{}/acme/upper:1.2", registry.port);
    let pushed = run(&case, &[], &["push", "stage.wasm", &place]).ok().stdout;
    let pinned = pushed.trim();
    assert!(pinned.starts_with(&format!("{place}@sha256:")), "{pushed}");
    // The same component has the same digest.
    assert_eq!(run(&case, &[], &["push", "stage.wasm", &place]).ok().stdout, pushed);
    let pulled = run(&case, &[], &["pull", &place]).ok().stdout;
    assert_eq!(pulled, format!("{pinned}\nwrote upper.wasm\n"));
    assert!(
        fs::read(case.path("upper.wasm")).unwrap() == fs::read(case.path("stage.wasm")).unwrap()
    );
    run(&case, &[], &["run", "--quiet", "--plugin", pinned]).ok().prints("A\n");
    // From then on it is in the store, and no registry is asked.
    drop(registry);
    run(&case, &[], &["run", "--quiet", "--plugin", pinned]).ok().prints("A\n");
    let shown = run(&case, &[], &["inspect", pinned]).ok().stdout;
    assert!(shown.starts_with("name        to-upper 0.1.0\n"), "{shown}");
}

#[test]
fn a_tag_is_refused_unless_the_lock_has_it() {
    let Some(registry) = Registry::start() else { return };
    let upper = case("to-upper").stdin("a1\n");
    let place = format!("oci://127.0.0.1:{}/acme/stage:1", registry.port);
    run(&upper, &[], &["push", "stage.wasm", &place]).ok();
    let upper = upper.file("p.toml", pipeline(&place));
    run(&upper, &[], &["run", "p.toml"]).code(2).says("has no digest").says("`pipehost lock`");
    run(&upper, &[], &["run", "--plugin", &place]).code(2).says("has no digest");
    let locked = run(&upper, &[], &["lock", "p.toml"]).ok().stdout;
    assert!(
        locked.contains(&format!("{place}@sha256:")) && locked.ends_with("wrote p.lock\n"),
        "{locked}"
    );
    run(&upper, &[], &["run", "--quiet", "p.toml"]).ok().prints("A1\n");

    // The tag moves: what runs stays, until the lock is updated.
    let double = case("double");
    run(&double, &[], &["push", "stage.wasm", &place]).ok();
    let again = run(&upper, &[], &["lock", "p.toml"]).ok().stdout;
    assert_eq!(again, "p.lock is as it was\n");
    run(&upper, &[], &["run", "--quiet", "p.toml"]).ok().prints("A1\n");
    let moved = run(&upper, &[], &["lock", "--update", "p.toml"]).ok().stdout;
    assert!(moved.contains("  was ") && moved.ends_with("wrote p.lock\n"), "{moved}");
    let upper = upper.stdin("21\n");
    run(&upper, &[], &["run", "--quiet", "p.toml"]).ok().prints("42\n");
}

#[test]
fn a_component_in_the_store_that_was_changed_is_got_again() {
    let Some(registry) = Registry::start() else { return };
    let case = case("to-upper").stdin("a\n");
    let place = format!("oci://127.0.0.1:{}/a:1", registry.port);
    let pinned = run(&case, &[], &["push", "stage.wasm", &place]).ok().stdout.trim().to_owned();
    run(&case, &[], &["run", "--quiet", "--plugin", &pinned]).ok();
    let store = fs::read_dir(case.path("cache/pipehost/components")).unwrap();
    for entry in store.flatten() {
        fs::write(entry.path(), "changed").unwrap();
    }
    run(&case, &[], &["run", "--plugin", &pinned]).ok().prints("A\n");
}

#[test]
fn what_is_no_stage_or_no_reference_is_refused() {
    let case = Case::new().file("text.wasm", "text");
    run(&case, &[], &["push", "text.wasm", "oci://127.0.0.1:1/a:1"])
        .code(2)
        .says("is not WebAssembly");
    run(&case, &[], &["push", "text.wasm", "ghcr.io/a"]).code(2).says("is not a reference");
    run(&case, &[], &["pull", "oci://ghcr.io/a"]).code(2).says("it has no tag and no digest");
    let case = case.file("p.toml", pipeline("oci://Wrong/a"));
    run(&case, &[], &["check", "p.toml"]).code(2).says("is not a reference").says("p.toml:6");
}

#[test]
fn elsewhere_a_certificate_is_asked_for() {
    let Some(registry) = Registry::with_tls() else { return };
    let case = case("to-upper");
    let certificate = registry.folder.path().join("certificate.pem");
    // No name server knows it: the proxy does.
    let proxy = format!("http://127.0.0.1:{}", proxy::start(registry.port));
    let (proxy, trust) =
        (("HTTPS_PROXY", &*proxy), ("SSL_CERT_FILE", certificate.to_str().unwrap()));
    let place = "oci://registry.test/acme/upper:1";
    run(&case, &[proxy], &["push", "stage.wasm", place]).code(1).says("certificate");
    let other = "oci://other.test/acme/upper:1";
    run(&case, &[proxy, trust], &["push", "stage.wasm", other]).code(1).says("certificate");
    run(&case, &[proxy, trust], &["push", "stage.wasm", place]).ok();
    run(&case, &[proxy, trust], &["pull", place]).ok();
}

#[test]
fn a_password_is_given_when_it_is_asked_for() {
    let Some(registry) = Registry::with_password() else { return };
    let host = format!("127.0.0.1:{}", registry.port);
    let place = format!("oci://{host}/acme/upper:1");
    let auths = |auth: &str| format!(r#"{{"auths": {{"{host}": {auth}}}, "credsStore": "x"}}"#);
    let case = case("to-upper")
        .file("right.json", auths(r#"{"auth": "dXNlcjpzZWNyZXQ="}"#)) // user:secret
        .file("wrong.json", auths(r#"{"auth": "dXNlcjp3cm9uZw=="}"#)) // user:wrong
        .file("store.json", auths("{}"));
    for (file, why) in [
        ("", format!("`docker login {host}`")),
        ("wrong.json", "does not accept the credentials".to_owned()),
        ("store.json", "docker-credential-x".to_owned()),
    ] {
        for arguments in [&["push", "stage.wasm", &place][..], &["pull", &place]] {
            run(&case, &[("REGISTRY_AUTH_FILE", file)], arguments).code(1).says(&why);
        }
    }
    let right = [("REGISTRY_AUTH_FILE", "right.json")];
    run(&case, &right, &["push", "stage.wasm", &place]).ok();
    run(&case, &right, &["pull", &place]).ok();
}
