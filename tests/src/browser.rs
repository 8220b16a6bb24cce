//! A headless Chromium that is driven from outside, by WebDriver: JSON over HTTP to Debian's `chromedriver`.
//!
//! What a page shows is waited for, never slept for. Nothing stays behind a test that fails or is killed: the kernel ends the
//! driver with the thread that started it, and the browser ends itself when the driver's pipe closes.

use std::process::Command;
use std::rc::Rc;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Client};
use crate::process::Process;
use crate::shops::free_port;
use crate::until::{until, until_shown};

/// Key of an element's id in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What every browser here is started with: as root, on a machine without a display or much shared memory, and no host but this one.
const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,800",
    "--lang=en-GB",
];

/// A driver, which starts browsers.
pub struct Driver(Rc<Running>);

struct Running {
    client: std::cell::RefCell<Client>,
    scratch: TempDir,
    // Dropped before the folder that its browsers write to.
    process: Option<Process>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process = None;
    }
}

impl Running {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let headers: &[(&str, &str)] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        let answer = self.client.borrow_mut().send(method, path, headers, bytes.as_deref());
        answer.unwrap_or_else(|error| panic!("chromedriver, {method} {path}: {error}"))
    }
}

impl Driver {
    /// Starts one, on a free port of loopback.
    pub fn start() -> Self {
        for (tool, package) in [("chromium", "chromium"), ("chromedriver", "chromium-driver"), ("setpriv", "util-linux")] {
            let found = Command::new(tool).arg("--version").output().is_ok_and(|told| told.status.success());
            assert!(found, "{tool} is not installed here: `make test` installs it, or: apt-get install {package}");
        }
        let scratch = tempfile::Builder::new().prefix("tombolo-browser-").tempdir().expect("a scratch folder");
        let address = free_port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "chromedriver", &format!("--port={}", address.port())]);
        command.env("HOME", scratch.path()).env("TMPDIR", scratch.path());
        let process = Process::start("chromedriver", command);
        let mut client = Client::tcp(address);
        until("chromedriver", || client.get("/status").ok().filter(|answer| answer.json()["value"]["ready"] == true));
        Self(Rc::new(Running { client: client.into(), scratch, process: Some(process) }))
    }

    /// A browser of its own, with nothing remembered, on this page.
    pub fn open(&self, url: &str) -> Page {
        let profile = tempfile::tempdir_in(self.0.scratch.path()).expect("a scratch folder").keep();
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let session = self.0.ask("POST", "/session", Some(&wanted)).ok(200);
        let id = session["value"]["sessionId"].as_str().expect("a session").to_owned();
        let page = Page { driver: Rc::clone(&self.0), session: format!("/session/{id}") };
        page.go(url);
        page
    }
}

/// One browser with one page.
pub struct Page {
    driver: Rc<Running>,
    session: String,
}

impl Page {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.driver.ask(method, &format!("{}{path}", self.session), body)
    }

    /// Goes to another page, or to the same one anew.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.ask("POST", "/url", Some(&json!({"url": url}))).expect(200);
    }

    /// What the body of a function gives, run in the page; a promise is waited for.
    #[track_caller]
    pub fn run(&self, body: &str) -> Value {
        self.try_run(body).unwrap_or_else(|error| panic!("{error}\nin {body}"))
    }

    /// The same; what goes wrong in the page is told.
    pub fn try_run(&self, body: &str) -> Result<Value, String> {
        let answer = self.ask("POST", "/execute/sync", Some(&json!({"script": body, "args": []})));
        if answer.status == 200 { Ok(answer.json()["value"].take()) } else { Err(answer.json()["value"]["message"].to_string()) }
    }

    /// Waits until an expression is true in the page; shows the page's text when it never is.
    #[track_caller]
    pub fn until(&self, what: &str, expression: &str) {
        until_shown(what, || match self.try_run(&format!("return [{expression}, document.body.innerText];")) {
            Ok(answer) if answer[0] == true => Ok(()),
            Ok(answer) => Err(format!("{expression}: {}\n{}", answer[0], answer[1].as_str().unwrap_or_default())),
            Err(error) => Err(error),
        });
    }

    /// The text of the first element that a CSS selector finds; none: none.
    #[track_caller]
    pub fn text(&self, css: &str) -> Option<String> {
        let text = self.run(&format!("return document.querySelector({})?.textContent;", json!(css)));
        text.as_str().map(str::to_owned)
    }

    /// Presses what a selector finds, as a finger would: it must be in sight and not covered.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let element = self.element(css);
        until_shown(&format!("a click on {css}"), || {
            let answer = self.ask("POST", &format!("/element/{element}/click"), Some(&json!({})));
            if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
        });
    }

    /// Types into what a selector finds.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.ask("POST", &format!("/element/{element}/clear"), Some(&json!({}))).expect(200);
        self.ask("POST", &format!("/element/{element}/value"), Some(&json!({"text": text}))).expect(200);
    }

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let wanted = json!({"using": "css selector", "value": css});
        until_shown(&format!("an element {css}"), || {
            let answer = self.ask("POST", "/element", Some(&wanted));
            let found = answer.json()["value"][ELEMENT].as_str().map(str::to_owned);
            found.ok_or_else(|| answer.to_string())
        })
    }

    /// A screen of this size, with so many points to a pixel of the page.
    pub fn screen(&self, width: u32, height: u32, scale: f64) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the reader has chosen: dark, or light.
    pub fn dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        self.command("Emulation.setEmulatedMedia", json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}));
    }

    /// What the screen shows, as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let answer = self.ask("GET", "/screenshot", None).ok(200);
        BASE64.decode(answer["value"].as_str().expect("a picture").as_bytes()).expect("base64")
    }

    /// A command of Chromium's own protocol.
    fn command(&self, name: &str, parameters: Value) {
        self.ask("POST", "/goog/cdp/execute", Some(&json!({"cmd": name, "params": parameters}))).expect(200);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // A test that fails leaves the rest to the driver's end.
        if !std::thread::panicking() {
            self.ask("DELETE", "", None);
        }
    }
}
