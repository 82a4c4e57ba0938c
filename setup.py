"""Everything this project says of itself is in settings.ini; this file only hands it to setuptools."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
about = config["DEFAULT"]

licenses = {"apache2": "Apache-2.0"}
statuses = {"3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

package = about["lib_path"]
notebooks = f"{package}.notebooks"  # the wheel carries the notebooks: they are what a run executes
extras = {
    key.removesuffix("_requirements"): about[key].split()
    for key in about
    if key.endswith("_requirements")
}

setup(
    name=about["lib_name"],
    version=about["version"],
    description=about["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=about["author"],
    author_email=about["author_email"],
    url=about["git_url"],
    license=licenses[about["license"]],
    keywords=about["keywords"].split(),
    classifiers=[
        f"Development Status :: {statuses[about['status']]}",
        f"Intended Audience :: {about['audience']}",
        f"Natural Language :: {about['language']}",
        "Programming Language :: Python :: 3",
    ],
    packages=[*find_packages(include=[package, f"{package}.*"]), notebooks],
    package_dir={notebooks: about["nbs_path"]},
    package_data={
        package: ["mappings/*.yaml", "look/*"],
        notebooks: ["[0-9]*.ipynb", "guides/glossary.ipynb"],
    },
    python_requires=f">={about['min_python']}",
    install_requires=about["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": about["console_scripts"].split()},
    zip_safe=False,
)
