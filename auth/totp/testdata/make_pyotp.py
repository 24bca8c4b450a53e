# Makes pyotp.json: what pyotp 2.6.0 (Debian 12, python3-pyotp) writes and accepts.
#	python3 make_pyotp.py >pyotp.json
import hashlib
import json

import pyotp

rows = []
at = 1790000000
for issuer, account, secret, digits, digest, interval in [
    ("Secure App", "alice@google.com", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", 6, "sha1", 30),
    ("Ünï & Co + 100 %", "ann+totp@example.com", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 6, "sha1", 30),
    ("Пример", "анна@пример.испытание", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 8, "sha256", 30),
    ("例え株式会社", "山田 太郎", "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZPIYDCMRT", 8, "sha512", 60),
    ("שירות", "دالیا", "KRSXG5CTMVRXEZLUKN2XAZLSKRSXG5CT", 6, "sha256", 30),
    ("", "nobody", "abcdefghijklmnopqrstuvwxyz234567", 6, "sha1", 30),
]:
    t = pyotp.TOTP(secret, digits=digits, digest=getattr(hashlib, digest), interval=interval, issuer=issuer or None)
    rows.append({
        "issuer": issuer, "account": account, "secret": secret, "digits": digits, "algorithm": digest.upper(),
        "period": interval, "uri": t.provisioning_uri(account), "at": at, "code": t.at(at),
    })
print(json.dumps(rows, indent=1, ensure_ascii=False))
