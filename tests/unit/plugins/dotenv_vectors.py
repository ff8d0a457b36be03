# SPDX-License-Identifier: GPL-3.0-or-later
"""Public test vectors of dotenv-vault, and a file that dotenvx 2.38 wrote with a key made for this test."""

PRODUCTION_KEY = "ff6456d445b08c289eec891ba1944e3ae09b00b33387d046624214aff27173d5"
DEVELOPMENT_KEY = "ddcaa26504cd70a6fef9801901c3981538563a1767c297cb8416e8a38c62fe00"
PRODUCTION = "YpDpGGf+eqiOPibziIQQbw4gBW/zfOBR6jow5B1UHYTTu6Kak6xy+qP/vXZWaPp4HOh2/Nu7gRK2CWfrbtk="
DEVELOPMENT = "s7NYXa809k/bVSPwIAmJhPJmEGTtU0hG58hOZy7I0ix6y5HP8LsHBsZCYC/gw5DDFy5DgOcyd18R"

VAULT = f"""\
#/-------------------.env.vault---------------------/
#/         cloud-agnostic vaulting standard         /
#/--------------------------------------------------/

# development
DOTENV_VAULT_DEVELOPMENT="{DEVELOPMENT}"

# production
DOTENV_VAULT_PRODUCTION="{PRODUCTION}"
DOTENV_VAULT_BROKEN="not base64!"
DOTENV_VAULT_SHORT="AAAA"
"""


def uri(key: str, environment: str = "production") -> str:
    return f"dotenv://:key_{key}@dotenv.org/vault/.env.vault?environment={environment}"


OTHER_KEY = "aa" * 32

DOTENVX_KEY = "313b2c01d0dacacda5f2b532cf06e76f25b30bef1373df10a351ae558ee171f1"
DOTENVX = """\
#/-------------------[DOTENV_PUBLIC_KEY]--------------------/
#/            public-key encryption for .env files          /
#/----------------------------------------------------------/
DOTENV_PUBLIC_KEY_PRODUCTION="037598a0b8665c4866ec09c79341f26eeb785771067457cdc226b2c7a2b99fe51d"

# .env.production
HELLO="encrypted:BKrduBKmPz00YX0ZKdy6ps56MB9pLkK93RhcqA+ENORSm6WB2aA6cSHNFFIZzq/e8BSXKYq+ToHOC+6TPZc2A9xzLY96OnsixAzNsTamiFndR2omllzpBO/tB13oLQKxSFyAG4r+"
MULTI="encrypted:BKzk5zLWPMZcd349VWxPX3PRZ0/qA8BKXHh8msCpP6Sc3LsIrZ8wAW+lLKUdcr+1h2DM18oIH/W7eDqAzNJ6Sm0sJz2Yf0SbMi3X2lsAluhRixJuJ0vDTelx7G+7ZC3QyBKAJO9wQ/BZ99wNx6FTLNFi"
UNICODE="encrypted:BPi3thcRMi3x8zrvnEviX2SZdgXQYAujUz5sIcn7IjkNtNs83t3/tZ0FxeK0vepDLJQWg4BVWu6FDqxRCIz1wgJgrx+Dz9G4m4UnFqLMyW44gOy1ZDAGMSwGGHxNPsTDbJHqnbnZ"
EMPTY="encrypted:BJ0dE/VOfBhZnn80q+490XktSWV57rvWuQqjZ1ixIhocsDdGDV4FUa2fIHY1vFxulqEcWicbAG+1+8I7Isbw0jdRXJxSEsIc2+SBQygSkDwmBpwFI1vyjY42TCSSSk1Zxw=="
PLAIN=as is # note
"""
DOTENVX_VALUES = {"HELLO": "World", "MULTI": "line one\nline two", "UNICODE": "é✓", "EMPTY": "", "PLAIN": "as is"}

# `x\\$y`, encrypted by dotenvx 2.38 for the same key
DOTENVX_DOLLARS = """\
DOUBLE="encrypted:BPwKr5/RycotWkdIlRn3MKLSipOEJlYWm+GoBkb48WnIr+ujsWzmD8Ac7je0Kq2MkCCXrfSDVBLevNp/y+bg4OVQ4DEOPE8wKUmDgEfBYVhQnWWU+o4T6m6dNsGzhQzdz4gkwwc="
NONE=encrypted:BCSnJMGOGDbinHN7EObUr5z+fQNrh23wiBSUebRgvsYYNBIHmnCXP9uUq24RNeaDgbELHa8uLXtAEfhhXcwtdrTh982JWrGJR+E1gZwDpWuRHUzvgTsJPTIR//IBjtdkDS6JwSQ=
SINGLE='encrypted:BJXUdwigurLhggcr2H4UpReM1gWadTJl0Yn4c+IvrqutDrUjlR20X1iimwfRXPLncQ2GhtUs1Xm+06IAyBzjxCYu6buSqobauJ/pVxNijSI3SYpiO1bfnTm6NsXKnRXw2fE286s='
"""
