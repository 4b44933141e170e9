//! From a request to an answer.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::accept::{Form, form};
use super::answer::{self, Answer, json as answer_json, nowhere, refusal};
use super::body;
use super::logs;
use super::request::{Query, Target};
use super::scale::{self, Wish};
use super::statics;
use super::watch::{self, Look};
use crate::object::{self, text};
use crate::patch::Patch;
use crate::resource::{ENDPOINTS, PODS};
use crate::schema::{DELETE_OPTIONS, SCALE};
use crate::store::{DeleteOptions, Propagation, Store, WriteOptions, Written};
use crate::table::{Include, partial, table};
use crate::{ApiError, Resource, convert};

pub(super) struct Handler {
    pub(super) store: Store,
    pub(super) address: SocketAddr,
}

/// A request whose body is read.
struct Call {
    method: Method,
    query: Query,
    headers: HeaderMap,
    bytes: Vec<u8>,
    target: Target,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    fn include(&self) -> Include {
        match self.query.get("includeObject") {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        }
    }
}

impl Handler {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, incoming) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let line = format!("{} {}", head.method, head.uri);
        let answer = self.route(&path, query, head, incoming).await;
        let answer = answer.unwrap_or_else(|error| refusal(&error));
        tracing::debug!("{line}: {}", answer.status());
        answer
    }

    async fn route(
        &self,
        path: &str,
        query: Query,
        head: hyper::http::request::Parts,
        incoming: Incoming,
    ) -> Result<Answer, ApiError> {
        if head.method == Method::GET {
            let address = self.address.to_string();
            if let Some(answer) = statics::get(path, &head.headers, &address) {
                return Ok(answer);
            }
        }
        if head.method == Method::POST && path.starts_with("/apis/authorization.k8s.io/v1/self") {
            return Ok(answer_json(201, &everything_is_allowed(path)));
        }
        let Some(target) = Target::parse(path) else {
            let known = path.starts_with("/api/v1/") || path.starts_with("/apis/");
            return if known { Err(ApiError::NoSuchResource) } else { Ok(nowhere()) };
        };
        let bytes = body::take(incoming).await?;
        let (method, headers) = (head.method, head.headers);
        let call = Call { method, query, headers, bytes, target };
        let mut answer = self.call(&call)?;
        if *call.target.resource == ENDPOINTS {
            // As every server since 1.33 does (KEP-4974).
            let advice =
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
            answer::warn(&mut answer, &[advice.to_owned()]);
        }
        Ok(answer)
    }

    fn call(&self, call: &Call) -> Result<Answer, ApiError> {
        let form = form(call.header("accept"))?;
        let name = call.target.name.as_deref();
        match (&call.method, name, call.target.subresource.as_deref()) {
            (&Method::GET, None, _) if call.query.is_set("watch") => self.watch(call, form),
            (&Method::GET, None, _) => self.list(call, form),
            (&Method::POST, None, _) => self.create(call, form),
            (&Method::DELETE, None, _) => self.delete_all(call),
            (&Method::GET, Some(name), None | Some("status")) => {
                let object = self.store.get(call.target.resource, call.namespace(), name)?;
                Ok(self.show(call, form, 200, &object))
            }
            (&Method::PUT | &Method::PATCH, Some(name), None) => {
                self.change(call, form, name, None)
            }
            (&Method::DELETE, Some(name), None) => self.delete(call, name),
            (&Method::GET, Some(name), Some("log")) if *call.target.resource == PODS => {
                let pod = self.store.get(&PODS, call.namespace(), name)?;
                logs::answer(&self.store, &pod, &call.query)
            }
            (_, Some(name), Some(subresource)) => self.part(call, form, name, subresource),
            _ => Err(ApiError::MethodNotAllowed),
        }
    }

    fn part(
        &self,
        call: &Call,
        form: Form,
        name: &str,
        subresource: &str,
    ) -> Result<Answer, ApiError> {
        let resource = call.target.resource;
        let known = resource.subresources.iter().find(|known| **known == subresource);
        let Some(subresource) = known else { return Err(ApiError::NoSuchResource) };
        match (&call.method, *subresource) {
            (&Method::GET, "scale") => {
                let object = self.store.get(resource, call.namespace(), name)?;
                Ok(answer_json(200, &convert::scale(&object)))
            }
            (&Method::PUT | &Method::PATCH, "scale") => {
                let options = self.options(call)?;
                let wish = match self.patch(call)? {
                    Some(patch) => Wish::Part(patch),
                    None => Wish::Whole(self.body(call, &SCALE)?.value),
                };
                let namespace = call.namespace();
                let scale = scale::change(&self.store, resource, namespace, name, wish, &options)?;
                Ok(answer_json(200, &scale))
            }
            (&Method::POST, "binding") => {
                let bytes = body::json(&call.bytes)?;
                let node = text(&bytes.value, "/target/name");
                self.store.bind(call.namespace(), name, node)?;
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
                Ok(answer_json(201, &status))
            }
            (&Method::PUT | &Method::PATCH, part @ ("status" | "finalize")) => {
                self.change(call, form, name, Some(part))
            }
            _ => Err(ApiError::MethodNotAllowed),
        }
    }

    fn stored(resource: &'static Resource) -> &'static Resource {
        resource.stored_as.unwrap_or(resource)
    }

    fn body(
        &self,
        call: &Call,
        message: &'static crate::schema::Message,
    ) -> Result<body::Parsed, ApiError> {
        body::parse(&call.bytes, call.header("content-type"), message)
    }

    fn options(&self, call: &Call) -> Result<WriteOptions, ApiError> {
        call.query.write(call.header("user-agent"))
    }

    /// The patch of a PATCH; nothing for other methods.
    fn patch(&self, call: &Call) -> Result<Option<Patch>, ApiError> {
        if call.method != Method::PATCH {
            return Ok(None);
        }
        let media = call.header("content-type").split(';').next().unwrap_or_default().trim();
        let parsed = || body::json(&call.bytes).map(|parsed| parsed.value);
        Ok(Some(match media {
            "application/json-patch+json" => Patch::Json(parsed()?),
            "application/merge-patch+json" => Patch::Merge(parsed()?),
            "application/strategic-merge-patch+json" => Patch::Strategic(parsed()?),
            "application/apply-patch+yaml" => Patch::Apply {
                config: body::yaml(&call.bytes)?.value,
                force: call.query.is_set("force"),
            },
            _ => {
                let spoken = "application/json-patch+json, application/merge-patch+json, \
                              application/strategic-merge-patch+json, application/apply-patch+yaml";
                return Err(ApiError::UnsupportedMediaType(spoken.to_owned()));
            }
        }))
    }

    fn list(&self, call: &Call, form: Form) -> Result<Answer, ApiError> {
        let resource = call.target.resource;
        let options = call.query.list(resource)?;
        let list =
            self.store.list(Self::stored(resource), call.target.namespace.as_deref(), &options)?;
        let mut metadata = json!({"resourceVersion": list.version.to_string()});
        if let Some(token) = list.continue_token {
            metadata["continue"] = token.into();
        }
        if let Some(remaining) = list.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let objects: Vec<_> = list.items.iter().map(|object| &**object).collect();
        let shown = match form {
            Form::Table => {
                let objects = objects.into_iter();
                table(resource, objects, metadata, call.include(), Timestamp::now())
            }
            Form::Metadata => {
                let items: Vec<_> = objects.into_iter().map(partial).collect();
                json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata, "items": items,
                })
            }
            Form::Plain => {
                let item = |object: &Value| {
                    let mut item = convert::shown(resource, object);
                    // In a list, the list says it for all.
                    object::remove(&mut item, &["kind"]);
                    object::remove(&mut item, &["apiVersion"]);
                    item
                };
                let items: Vec<_> = objects.into_iter().map(item).collect();
                json!({
                    "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                    "metadata": metadata, "items": items,
                })
            }
        };
        Ok(answer_json(200, &shown))
    }

    fn watch(&self, call: &Call, form: Form) -> Result<Answer, ApiError> {
        let resource = call.target.resource;
        let options = call.query.watch(resource)?;
        let bookmarks = options.bookmarks;
        let seconds = call.query.number("timeoutSeconds")?;
        let namespace = call.target.namespace.as_deref();
        let watch = self.store.watch(Self::stored(resource), namespace, options)?;
        let look = Look { resource, form, include: call.include(), bookmarks };
        Ok(watch::answer(watch, look, seconds))
    }

    fn create(&self, call: &Call, form: Form) -> Result<Answer, ApiError> {
        let resource = call.target.resource;
        let parsed = self.body(call, resource.message)?;
        let mut options = self.options(call)?;
        options.problems = parsed.duplicates;
        let object = convert::stored(resource, parsed.value);
        let namespace = match call.namespace() {
            "" => object::namespace(&object).to_owned(),
            namespace => namespace.to_owned(),
        };
        let written = self.store.create(Self::stored(resource), &namespace, object, &options)?;
        Ok(self.written(call, form, &written))
    }

    fn change(
        &self,
        call: &Call,
        form: Form,
        name: &str,
        subresource: Option<&'static str>,
    ) -> Result<Answer, ApiError> {
        let resource = call.target.resource;
        let stored = Self::stored(resource);
        let mut options = self.options(call)?;
        options.subresource = subresource;
        let namespace = call.namespace();
        let written = match self.patch(call)? {
            Some(Patch::Apply { config, force }) => {
                let patch = Patch::Apply { config: convert::stored(resource, config), force };
                // An apply without a manager has no owner.
                options.manager = call.query.get("fieldManager").to_owned();
                self.store.patch(stored, namespace, name, &patch, &options)?
            }
            Some(patch) => self.store.patch(stored, namespace, name, &patch, &options)?,
            None => {
                let parsed = self.body(call, resource.message)?;
                options.problems = parsed.duplicates;
                let object = convert::stored(resource, parsed.value);
                self.store.update(stored, namespace, name, object, &options)?
            }
        };
        Ok(self.written(call, form, &written))
    }

    fn written(&self, call: &Call, form: Form, written: &Written) -> Answer {
        let code = if written.created { 201 } else { 200 };
        let mut answer = self.show(call, form, code, &written.object);
        answer::warn(&mut answer, &written.warnings);
        answer
    }

    fn show(&self, call: &Call, form: Form, code: u16, object: &Value) -> Answer {
        let resource = call.target.resource;
        let shown = match form {
            Form::Plain => convert::shown(resource, object),
            Form::Metadata => partial(object),
            Form::Table => {
                let version = text(object, "/metadata/resourceVersion");
                let metadata = json!({"resourceVersion": version});
                let objects = [object].into_iter();
                table(resource, objects, metadata, call.include(), Timestamp::now())
            }
        };
        answer_json(code, &shown)
    }

    fn delete_options(&self, call: &Call) -> Result<DeleteOptions, ApiError> {
        let given = self.body(call, &DELETE_OPTIONS)?.value;
        let either = |field: &str| {
            let of_body = text(&given, &format!("/{field}"));
            if of_body.is_empty() { call.query.get(field).to_owned() } else { of_body.to_owned() }
        };
        let propagation = match &either("propagationPolicy")[..] {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            _ if given.get("orphanDependents") == Some(&Value::Bool(true)) => Propagation::Orphan,
            _ => Propagation::Background,
        };
        let grace = given.get("gracePeriodSeconds").and_then(Value::as_i64);
        let queried = call.query.number("gracePeriodSeconds")?;
        let some = |pointer: &str| {
            Some(text(&given, pointer).to_owned()).filter(|precondition| !precondition.is_empty())
        };
        let dry = object::texts(&given, "/dryRun").iter().any(|stage| stage == "All");
        Ok(DeleteOptions {
            grace: grace.or(queried.and_then(|seconds| seconds.try_into().ok())),
            propagation,
            uid: some("/preconditions/uid"),
            version: some("/preconditions/resourceVersion"),
            dry_run: dry || call.query.dry_run()?,
        })
    }

    fn delete(&self, call: &Call, name: &str) -> Result<Answer, ApiError> {
        let options = self.delete_options(call)?;
        let resource = call.target.resource;
        let stored = Self::stored(resource);
        let deleted = self.store.delete(stored, call.namespace(), name, &options)?;
        Ok(answer_json(200, &deleted.answer(resource)))
    }

    fn delete_all(&self, call: &Call) -> Result<Answer, ApiError> {
        let options = self.delete_options(call)?;
        let resource = call.target.resource;
        let stored = Self::stored(resource);
        if resource.namespaced && call.target.namespace.is_none() {
            return Err(ApiError::MethodNotAllowed);
        }
        let which = call.query.list(resource)?;
        let list = self.store.list(stored, call.target.namespace.as_deref(), &which)?;
        for object in &list.items {
            let (namespace, name) = (object::namespace(object), object::name(object));
            match self.store.delete(stored, namespace, name, &options) {
                // It went along with another one.
                Ok(_) | Err(ApiError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(answer_json(200, &status))
    }
}

/// There is nobody else here to ask.
fn everything_is_allowed(path: &str) -> Value {
    let rules = path.ends_with("selfsubjectrulesreviews");
    let kind = if rules { "SelfSubjectRulesReview" } else { "SelfSubjectAccessReview" };
    let status = if rules {
        let all = json!(["*"]);
        let rule = json!({"verbs": all, "apiGroups": all, "resources": all});
        let other = json!({"verbs": all, "nonResourceURLs": all});
        json!({"resourceRules": [rule], "nonResourceRules": [other], "incomplete": false})
    } else {
        json!({"allowed": true})
    };
    json!({
        "kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {},
        "status": status,
    })
}
