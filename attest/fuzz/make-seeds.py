#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: the smallest inputs that each parser takes. Needs openssl for the certificate."""
import json, pathlib, struct, subprocess, tempfile

SEEDS = pathlib.Path(__file__).parent / "seeds"


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def report(version):
    data = bytearray(1184)
    struct.pack_into("<I", data, 0, version)
    data[0x0A] = 2
    data[0x34] = 1
    if version >= 3:
        data[0x188] = 0x19
    return bytes(data)


def table(entries):
    head, body, offset = b"", b"", 24 * (len(entries) + 1)
    for guid, data in entries:
        head += bytes.fromhex(guid) + struct.pack("<II", offset, len(data))
        body += data
        offset += len(data)
    return head + bytes(24) + body


def quote(version, kind, length):
    header = bytearray(48)
    struct.pack_into("<HHI", header, 0, version, 2, 0x81)
    header[12:28] = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
    inner = bytes(448) + struct.pack("<H", 32) + bytes(32) + struct.pack("<HI", 5, 4) + b"text"
    signature = bytes(128) + struct.pack("<HI", 6, len(inner)) + inner
    typed = struct.pack("<HI", kind, length) if version == 5 else b""
    return bytes(header) + typed + bytes(length) + struct.pack("<I", len(signature)) + signature


def certificate():
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
        amd = "1.3.6.1.4.1.3704.1."
        numbers = {"1": 0, "3.1": 4, "3.2": 0, "3.3": 24, "3.8": 219}
        lines = [f"{amd}{oid}=ASN1:INTEGER:{number}" for oid, number in numbers.items()]
        lines += [f"{amd}2=ASN1:IA5STRING:Milan-B0", f"{amd}4=DER:{'c7' * 64}"]
        pathlib.Path(folder, "extensions").write_text("\n".join(lines))
        run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "ask.key")
        run("req", "-x509", "-key", "ask.key", "-subj", "/CN=SEV-Milan", "-out", "ask.pem")
        run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "vcek.key")
        run("req", "-new", "-key", "vcek.key", "-subj", "/CN=SEV-VCEK", "-out", "vcek.csr")
        run("x509", "-req", "-in", "vcek.csr", "-CA", "ask.pem", "-CAkey", "ask.key", "-set_serial", "0", "-sha384",
            "-days", "2555", "-extfile", "extensions", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
            "rsa_pss_saltlen:48", "-outform", "der", "-out", "vcek.der")
        return pathlib.Path(folder, "vcek.der").read_bytes()


def collateral():
    info = {"id": "TDX", "version": 3, "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-01-31T00:00:00Z",
            "fmspc": "00806F050000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17, "tcbLevels": []}
    identity = {"id": "TD_QE", "version": 2}
    fields = {name: "" for name in ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")}
    fields |= {name: "00ff" for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")}
    fields |= {"tcb_info": json.dumps(info), "qe_identity": json.dumps(identity)}
    return json.dumps(fields).encode()


def container(tee, report, endorsements):
    out = b"TRBEVID" + bytes([1, tee]) + struct.pack(">H", len(report)) + report + bytes([len(endorsements)])
    return out + b"".join(struct.pack(">H", len(e)) + e for e in endorsements)


for version in range(2, 6):
    write("snp_report", f"version-{version}", report(version))
guids = {"vcek": "63da758de6644564adc5f4b93be8accd", "ask": "4ab7b379bbac4fe4a02f05aef327c782"}
write("certificate_table", "empty", bytes(24))
write("certificate_table", "two", table([(guids["vcek"], b"vcek"), (guids["ask"], b"ask")]))
vcek = certificate()
write("vek", "vcek", vcek)
for version, kind, length in ((4, 2, 584), (5, 2, 584), (5, 3, 648), (5, 4, 885)):
    write("tdx_quote", f"version-{version}-body-{kind}", quote(version, kind, length))
write("tdx_collateral", "smallest", collateral())
write("evidence", "snp", container(2, report(5), [vcek]))
write("evidence", "tdx", container(3, quote(4, 2, 584), [collateral()]))
write("evidence", "bare", container(1, b"x", []))
