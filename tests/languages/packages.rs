//! Each SDK is packaged as its registry wants, and a stage is built with what was installed from the
//! package. (The crate is in `documents`, the header of C is its own package.)

use std::fs;

use crate::harness::{Case, root};
use crate::{has, sh};

#[test]
fn a_tarball_of_npm() {
    if !has("npm") {
        return;
    }
    let case = Case::new().stdin("an error\nfine\n");
    let sdk = root().join("plugin-sdk/javascript").display().to_string();
    let packed = sh(case.folder.path(), &format!("npm pack --silent {sdk}"));
    let tarball = case.path(packed.trim()).display().to_string();
    case.run(&["new", "shout", "--lang", "javascript"]).ok();
    let folder = case.path("shout");
    fs::remove_dir_all(folder.join("vendor")).unwrap();
    let manifest = fs::read_to_string(folder.join("package.json")).unwrap();
    let manifest = manifest.replace("file:vendor/pipehost-plugin", &format!("file:{tarball}"));
    fs::write(folder.join("package.json"), manifest).unwrap();
    sh(&folder, "npm install && npm test");
    case.run(&["run", "--quiet", "--plugin", "shout", "--set", "shout.word=error"])
        .ok()
        .prints("AN ERROR\nfine\n");
}

#[test]
fn a_wheel_of_python() {
    if !has("componentize-py") {
        return;
    }
    let case = Case::new().stdin("an error\nfine\n");
    let sdk = root().join("plugin-sdk/python").display().to_string();
    sh(
        case.folder.path(),
        &format!("cp -r {sdk} sdk && pip wheel --quiet --no-deps --wheel-dir wheels ./sdk"),
    );
    case.run(&["new", "shout", "--lang", "python"]).ok();
    let folder = case.path("shout");
    fs::remove_dir_all(folder.join("vendor")).unwrap();
    sh(&folder, "pip install --quiet --no-index --target vendor ../wheels/*.whl");
    case.run(&["run", "--quiet", "--plugin", "shout", "--set", "shout.word=error"])
        .ok()
        .prints("AN ERROR\nfine\n");
}

/// Go fetches a module as a zip file from a proxy, which can be a folder.
#[test]
fn a_module_of_go() {
    if !has("go") || !has("zip") {
        return;
    }
    let case = Case::new().stdin("an error\nfine\n");
    let (module, version) = ("github.com/pipehost/pipehost/plugin-sdk/go", "v0.1.0");
    let proxy = case.path("proxy").join(module).join("@v");
    fs::create_dir_all(&proxy).unwrap();
    let sdk = root().join("plugin-sdk/go");
    fs::copy(sdk.join("go.mod"), proxy.join(format!("{version}.mod"))).unwrap();
    fs::write(proxy.join(format!("{version}.info")), format!("{{\"Version\":\"{version}\"}}"))
        .unwrap();
    fs::write(proxy.join("list"), format!("{version}\n")).unwrap();
    let inside = format!("{module}@{version}");
    let zip = proxy.join(format!("{version}.zip")).display().to_string();
    let sdk = sdk.display();
    sh(
        case.folder.path(),
        &format!(
            "mkdir -p 'z/{inside}' && cp -r {sdk}/. 'z/{inside}' && rm -rf 'z/{inside}/conformance' && \
             cd z && zip -q -r -D {zip} ."
        ),
    );
    case.run(&["new", "shout", "--lang", "go"]).ok();
    let folder = case.path("shout");
    fs::remove_dir_all(folder.join("vendor")).unwrap();
    let proxy = case.path("proxy").display().to_string();
    let variables = format!("GOPROXY=file://{proxy} GONOSUMDB=* GONOSUMCHECK=1 GOFLAGS=-mod=mod");
    sh(
        &folder,
        &format!(
            "export {variables} GOMODCACHE={proxy}/../cache GOFLAGS='-mod=mod -modcacherw' && go test ./... && \
                  GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o build/shout.wasm ."
        ),
    );
    case.run(&[
        "run",
        "--quiet",
        "--plugin",
        "shout/build/shout.wasm",
        "--set",
        "shout.word=error",
    ])
    .ok()
    .prints("AN ERROR\nfine\n");
}
