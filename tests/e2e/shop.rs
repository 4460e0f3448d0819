//! A real shop for a test: the program under test, started as a stranger would start it, spoken to over HTTP.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Longest wait for a shop to be ready; a cold machine initialises two servers in this time.
const READY_WAIT: Duration = Duration::from_secs(120);

/// A running shop; its processes end with the value.
pub struct Shop {
    pub dir: PathBuf,
    pub url: String,
    pub token: String,
    pub http: reqwest::Client,
    child: Option<Child>,
    /// Variables of its environment, at each start.
    settings: Vec<(String, String)>,
}

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// `Consistency-Token` of a command, `Read-Position` of a read.
    pub token: Option<String>,
    pub replayed: bool,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn str(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub fn int(&self, pointer: &str) -> i64 {
        self.body.pointer(pointer).and_then(Value::as_i64).unwrap_or_else(|| panic!("{pointer} in {}", self.text))
    }
}

impl Shop {
    /// A shop with the demo catalogue, in a folder of its own.
    pub async fn with_demo() -> Self {
        Self::start(&fresh_dir(), &["--demo"]).await
    }

    pub async fn empty() -> Self {
        Self::start(&fresh_dir(), &[]).await
    }

    /// An empty shop with settings of its own, by variables of the environment.
    pub async fn with_settings(settings: &[(&str, &str)]) -> Self {
        Self::start_with(&fresh_dir(), &[], settings).await
    }

    pub async fn start(dir: &Path, flags: &[&str]) -> Self {
        Self::start_with(dir, flags, &[]).await
    }

    async fn start_with(dir: &Path, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let settings: Vec<(String, String)> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let child = spawn(dir, flags, &settings);
        let mut shop = Self {
            dir: dir.to_owned(),
            url: String::new(),
            token: String::new(),
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
            child: Some(child),
            settings,
        };
        shop.until_ready().await;
        shop.token = shop.cli(&["token", "--role", "owner"]).trim().to_owned();
        shop
    }

    /// Starts the program again on the same folder.
    pub async fn restart(&mut self) {
        self.child = Some(spawn(&self.dir, &[], &self.settings));
        self.until_ready().await;
    }

    async fn until_ready(&mut self) {
        let until = Instant::now() + READY_WAIT;
        let pid = self.child.as_ref().unwrap().id();
        loop {
            if let Ok(text) = std::fs::read_to_string(self.dir.join("run.json")) {
                let run: Value = serde_json::from_str(&text).unwrap();
                if run["pid"] == json!(pid) {
                    self.url = run["url"].as_str().unwrap().to_owned();
                    let ready = self.http.get(format!("{}/readyz", self.url)).send().await;
                    if ready.is_ok_and(|r| r.status().is_success()) {
                        return;
                    }
                }
            }
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("daybook up ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < until, "not ready after {READY_WAIT:?}:\n{}", self.log());
            pause(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("test.log")).unwrap_or_default()
    }

    pub fn run_file(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.dir.join("run.json")).unwrap()).unwrap()
    }

    /// `kill -9`, of the program or of its servers too.
    pub fn kill(&mut self, servers_too: bool) {
        let run = self.run_file();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        if servers_too {
            for name in ["postgres_pid", "nats_pid"] {
                send_signal("KILL", run[name].as_u64().unwrap());
            }
        }
        child.wait().unwrap();
    }

    /// Waits for the program to die of itself, and starts it again without the setting that made it.
    pub async fn restart_after_death(&mut self, setting: &str) {
        let mut child = self.child.take().unwrap();
        let until = Instant::now() + READY_WAIT;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it lives on:\n{}", self.log());
            pause(Duration::from_millis(20)).await;
        }
        self.settings.retain(|(name, _)| name != setting);
        self.restart().await;
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            send_signal("TERM", child.id().into());
            let _status = child.wait();
        }
    }

    /// One subcommand on this shop; its standard output. Panics unless it succeeds.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        let (code, out, err) = self.cli_code(args);
        assert_eq!(code, 0, "daybook {args:?}: {out}{err}");
        out
    }

    pub fn cli_code(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_daybook-under-test"))
            .args(args)
            .env("DAYBOOK_DATA_DIR", &self.dir)
            .env("DAYBOOK_LOG", "warn")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let headers = response.headers().clone();
        let header = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let token = header("consistency-token").or_else(|| header("read-position"));
        let replayed = header("idempotent-replayed").is_some();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, token, replayed, headers, body, text })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await.unwrap()
    }

    /// A read that has seen a write.
    pub async fn get_after(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, None, &[("consistency-token", token), ("prefer", "wait=15")]).await.unwrap()
    }

    /// The products that these parameters ask for.
    pub async fn listing(&self, parameters: &[(&str, &str)]) -> Answer {
        let url = reqwest::Url::parse_with_params(&format!("{}/v1/products", self.url), parameters).unwrap();
        self.get(&format!("{}?{}", url.path(), url.query().unwrap_or_default())).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body), &[]).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body), &[]).await.unwrap()
    }

    /// As the shop's owner.
    pub async fn staff(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.send(method, path, body, &[("authorization", &bearer)]).await.unwrap()
    }

    /// As the shop's owner, after a write.
    pub async fn staff_after(&self, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("consistency-token", token), ("prefer", "wait=15")];
        self.send(Method::GET, path, None, &headers).await.unwrap()
    }

    pub async fn pool(&self) -> sqlx::PgPool {
        let url = self.run_file()["database_url"].as_str().unwrap().to_owned();
        sqlx::PgPool::connect(&url).await.unwrap()
    }

    /// A cart with these lines and an address in Germany, ready for checkout.
    pub async fn cart(&self, lines: &[(&str, u32)]) -> String {
        let id = self.post("/v1/carts", json!({ "currency": "EUR", "country": "DE" })).await.expect(201).str("/id");
        for (sku, quantity) in lines {
            self.post(&format!("/v1/carts/{id}/lines"), json!({ "sku": sku, "quantity": quantity })).await.expect(200);
        }
        self.put(&format!("/v1/carts/{id}/contact"), contact("mira.okafor@example.org", "Mira Okafor")).await.expect(200);
        let options = self.get(&format!("/v1/carts/{id}/shipping-options")).await.expect(200);
        let option = options.str("/items/0/id");
        self.put(&format!("/v1/carts/{id}/shipping-option"), json!({ "id": option })).await.expect(200);
        id
    }

    pub async fn checkout(&self, cart: &str, token: &str) -> Answer {
        self.post(&format!("/v1/carts/{cart}/checkout"), json!({ "payment": { "provider": "sandbox", "token": token } })).await
    }

    /// Makes a product that is sold in one variant, with so many in stock.
    pub async fn product(&self, sku: &str, price: &str, stock: u32) {
        self.products(&[sku], price, stock);
    }

    /// Several of them by one import.
    pub fn products(&self, skus: &[&str], price: &str, stock: u32) {
        let mut csv = "Handle,Title,Vendor,Published,Variant SKU,Variant Price,Variant Inventory Qty,Status\n".to_owned();
        for sku in skus {
            writeln!(csv, "{},Product {sku},Maker,TRUE,{sku},{price},{stock},active", sku.to_lowercase()).unwrap();
        }
        let file = self.dir.join(format!("{}.csv", skus[0]));
        std::fs::write(&file, csv).unwrap();
        self.cli(&["import", "products", file.to_str().unwrap()]);
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            let _left = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub fn contact(email: &str, name: &str) -> Value {
    json!({
        "email": email,
        "shipping_address": { "name": name, "line1": "Lindenallee 7", "city": "Potsdam", "postal_code": "14467", "country": "DE" }
    })
}

fn spawn(dir: &Path, flags: &[&str], settings: &[(String, String)]) -> Child {
    std::fs::create_dir_all(dir).unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("test.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_daybook-under-test"))
        .args(["up", "--port", "0", "--data-dir"])
        .arg(dir)
        .args(flags)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// By the shell's own `kill`: a bare Debian has no other. That the process is gone already is all right.
pub fn send_signal(name: &str, pid: u64) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2>/dev/null || ! test -e /proc/{pid}")]).status();
    assert!(status.unwrap().success(), "can't send {name} to {pid}");
}

fn fresh_dir() -> PathBuf {
    std::env::temp_dir().join(format!("daybook-test-{}", uuid::Uuid::new_v4().simple()))
}

/// The one place where tests let time pass: between two looks at a state they wait for.
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// How often a test repeats itself: few times in `make test`, as often as the variable says in `make soak`.
#[expect(clippy::disallowed_methods, reason = "the tests' own switch")]
pub fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
