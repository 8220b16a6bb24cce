#![allow(clippy::unwrap_used)]

use super::*;

/// The bluetooth sensor of KubeEdge's examples (`CC2650-device-model.yaml` and `-instance.yaml`), shortened.
const V1ALPHA2: &str = r#"
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata:
  name: sensor-tag-instance-01
  labels:
    description: TISimplelinkSensorTag
    model: cc2650-sensortag
spec:
  deviceModelRef:
    name: cc2650-sensortag
  protocol:
    bluetooth:
      macAddress: "BC:6A:29:AE:CC:96"   # it is optional to provide MAC address
  nodeSelector:
    nodeSelectorTerms:
    - matchExpressions:
      - key: ''
        operator: In
        values:
        - edge-node          # your edge node's name
  propertyVisitors:
    - propertyName: temperature
      collectCycle: 500000000
      bluetooth:
        characteristicUUID: f000aa0104514000b000000000000000
        dataConverter:
          shiftRight: 2
  data:
    dataTopic: "$ke/events/device/+/customized/update"
status:
  twins:
    - propertyName: temperature-enable
      desired:
        metadata:
          type: string
        value: 'OFF'
      reported:
        value: '0'
    - propertyName: io-data
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata:
 name: cc2650-sensortag
 namespace: default
spec:
 properties:
  - name: temperature
    description: temperature in degree celsius
    type:
     int:
      accessMode: ReadOnly
      maximum: 100
      unit: degree celsius
      defaultValue: 3
  - name: temperature-enable
    description: enable data collection of temperature sensor
    type:
      string:
        accessMode: ReadWrite
        defaultValue: 'ON'
  - name: io-data
    type:
     int:
      accessMode: ReadWrite
      defaultValue: 0
 propertyVisitors:
  - propertyName: temperature
    bluetooth:
     characteristicUUID: f000aa0104514000b000000000000000
"#;

/// The counter of KubeEdge's examples (`counter-model.yaml` and `counter-instance.yaml`), with what the CRD knows beside it.
const V1BETA1: &str = r#"apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata:
  name: counter-model
  namespace: plant
  uid: 7c1e
spec:
  protocol: "virtualProtocol"
  properties:
    - name: status
      description: counter status:0=ON,1=OFF 2=PAUSED
      type: STRING
      accessMode: ReadWrite
    - name: count
      type: INT
      accessMode: ReadWrite
      minimum: "0"
      maximum: "1000"
      unit: pieces
    - name: picture
      type: STREAM
      accessMode: ReadOnly
    - name: label
      type: BYTES
      maximum: "9"
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata:
  name: counter-instance
  namespace: plant
spec:
  deviceModelRef:
    name: counter-model
  nodeName: "kind-worker"
  protocol:
    protocolName: virtualProtocol
    configData:
      ip: "172.18.0.3"
  properties:
    - name: status
      visitors:
        protocolName: virtualProtocol
        configData:
          name: status
      collectCycle: 10000
      reportCycle: 10000
      reportToCloud: true
      desired:
        value: "1"
    - name: count
      pushMethod:
        mqtt:
          topic: "current count"
          address: "tcp://127.0.0.1:1884"
      desired:
        value: "12"
        metadata: { timestamp: "7" }
  methods:
    - name: SetCount
      propertyNames:
        - count
---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceStatus
metadata: { name: counter-instance }
---
apiVersion: apps/v1
kind: Deployment
"#;

#[test]
fn a_sensor_of_v1alpha2_becomes_a_model_and_a_device() {
    let Declared { entries, notes } = read(V1ALPHA2).unwrap();
    let [model, device] = entries.as_slice() else { panic!("{entries:?}") };
    let properties = json!({
        "temperature": {"type": "int", "description": "temperature in degree celsius", "maximum": 100.0, "unit": "degree celsius"},
        "temperature-enable": {"type": "string", "access": "read-write", "default": "ON", "description": "enable data collection of temperature sensor"},
        "io-data": {"type": "int", "access": "read-write", "default": 0},
    });
    assert_eq!(*model, Entry::model("cc2650-sensortag".into(), json!({"properties": properties})));
    // Its topics had no namespace then.
    assert_eq!(device.id, "sensor-tag-instance-01");
    let visitors = json!({"temperature": {"collectCycle": 500_000_000, "bluetooth": {"characteristicUUID": "f000aa0104514000b000000000000000", "dataConverter": {"shiftRight": 2}}}});
    let body = json!({
        "model": "cc2650-sensortag", "node": "edge-node",
        "labels": {"description": "TISimplelinkSensorTag", "model": "cc2650-sensortag"},
        "protocol": {"bluetooth": {"macAddress": "BC:6A:29:AE:CC:96"}, "properties": visitors},
    });
    assert_eq!((&device.body, device.texts.as_slice()), (&body, &[("temperature-enable".to_owned(), "OFF".to_owned())][..]));
    let told = [
        "line 29: spec.data is not kept: series of measurements",
        "line 35: status.twins[0].desired.metadata is not kept",
        "line 38: status.twins[0].reported is not kept",
        "line 56: defaultValue of property temperature is not kept",
        "line 68: spec.propertyVisitors is not kept: a protocol is each device's own",
    ];
    told_in_order(&notes, &told);
}

#[test]
fn a_counter_of_v1beta1_becomes_a_model_and_a_device() {
    let Declared { entries, notes } = read(V1BETA1).unwrap();
    let [model, device] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(model.id, "plant/counter-model");
    let properties = json!({
        "status": {"type": "string", "access": "read-write", "description": "counter status:0=ON,1=OFF 2=PAUSED"},
        "count": {"type": "int", "access": "read-write", "minimum": 0.0, "maximum": 1000.0, "unit": "pieces"},
        "label": {"type": "bytes"},
    });
    assert_eq!(model.body["properties"], properties);
    assert_eq!(
        (device.id.as_str(), &device.body["model"], &device.body["node"]),
        ("plant/counter-instance", &json!("plant/counter-model"), &json!("kind-worker"))
    );
    let protocol = json!({
        "protocolName": "virtualProtocol", "configData": {"ip": "172.18.0.3"},
        "properties": {
            "status": {"visitors": {"protocolName": "virtualProtocol", "configData": {"name": "status"}}, "collectCycle": 10000, "reportCycle": 10000, "reportToCloud": true},
            "count": {"pushMethod": {"mqtt": {"topic": "current count", "address": "tcp://127.0.0.1:1884"}}},
        },
    });
    assert_eq!(device.body["protocol"], protocol);
    assert_eq!(device.texts, [("status".to_owned(), "1".to_owned()), ("count".to_owned(), "12".to_owned())]);
    let told = [
        "line 6: metadata.uid is not kept",
        "line 8: spec.protocol is not kept",
        "property picture is left out: there is no type stream",
        "property label becomes read-only: its accessMode is \"\"",
        "maximum of property label is not kept: a bytes has none",
        "pushMethod of property count is kept for a mapper",
        "desired.metadata is not kept",
        "spec.methods is not kept",
        "DeviceStatus is passed over",
        "kind Deployment (apps/v1) is no device of KubeEdge: passed over",
    ];
    told_in_order(&notes, &told);
}

/// These notes and no other.
fn told_in_order(notes: &[String], told: &[&str]) {
    assert!(notes.len() == told.len() && notes.iter().zip(told).all(|(note, told)| note.contains(told)), "{notes:#?}\nwanted {told:#?}");
}

#[test]
fn what_kubectl_prints_is_a_list() {
    let text = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"a"},"spec":{"deviceModelRef":{"name":"m"}}},
        {"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"b"},"spec":{"deviceModelRef":{"name":"m"}}}]}"#;
    let ids: Vec<_> = read(text).unwrap().entries.into_iter().map(|entry| (entry.id, entry.body)).collect();
    assert_eq!(ids, [("default/a".to_owned(), json!({"model": "m"})), ("default/b".to_owned(), json!({"model": "m"}))]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let head = "apiVersion: devices.kubeedge.io/v1beta1\nkind: DeviceModel\nmetadata: { name: m }\nspec:\n";
    for (text, words) in [
        ("apiVersion: devices.kubeedge.io/v2\nkind: Device\n", "line 1: apiVersion devices.kubeedge.io/v2 is not known"),
        ("apiVersion: devices.kubeedge.io/v1beta1\nkind: Gadget\n", "kind \"Gadget\" is neither"),
        ("apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {}\n", "metadata.name is missing"),
        ("apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: { name: a }\nspec: {}\n", "spec.deviceModelRef.name is missing"),
        (&format!("{head}  properties: 7\n"), "line 5: spec.properties is a list"),
        (&format!("{head}  properties:\n    - type: INT\n"), "line 6: spec.properties[0].name is missing"),
        (
            &format!("{head}  properties:\n    - {{ name: t, type: INT, minimum: low }}\n"),
            "line 6: minimum of property t is a number, not \"low\"",
        ),
        ("- 1\n", "line 1: a document is a map"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}, wanted {words}");
    }
    let selector = "apiVersion: devices.kubeedge.io/v1alpha2\nkind: Device\nmetadata: { name: a }\nspec:\n  deviceModelRef: { name: m }\n  nodeSelector:\n    nodeSelectorTerms:\n      - matchExpressions:\n          - { key: '', operator: In, values: [x, y] }\n";
    let Declared { entries, notes } = read(selector).unwrap();
    assert!(entries[0].body.get("node").is_none() && notes[0].contains("does not name one node"), "{notes:?}");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(cut in 0..V1BETA1.len(), other in 0..V1ALPHA2.len()) {
        // Every test's text is ASCII.
        let _ = (read(&V1BETA1[cut..]), read(&V1BETA1[..cut]), read(&V1ALPHA2[other..]), read(&V1ALPHA2[..other]));
    }
}
