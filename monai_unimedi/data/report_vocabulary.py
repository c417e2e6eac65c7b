# SPDX-License-Identifier: Apache-2.0
"""Words that head the sections of radiology reports, and words that go with them, folded.

English, Spanish, Portuguese, Catalan, French, Italian, Romanian, German, Dutch, Swedish, Danish, Norwegian,
Finnish, Polish, Czech, Turkish, Russian, Greek, Indonesian, Chinese, Japanese and Korean. A *plain* phrase
("impression", "hallazgos") can be known as a heading by its letters or its place alone; a *shy* one ("history",
"report", "patient") also stands in sentences, so that it needs a separator after it.
"""

from __future__ import annotations

__all__ = ["MODIFIERS", "PLAIN", "SHY", "SUFFIXES"]

PLAIN = {
    "findings": """findings, finding, finding(s), hallazgos, hallazgo, befunde, befund, constatations, achados,
        reperti, bevindingen, bulgular, troballes, fynd, fund, funn, loydokset, opis badania, wyniki badania,
        nalez, nalezy, temuan, constatari, находки, описание, ευρηματα, description of findings,
        description of the findings, 影像所见, 影像表现, 检查所见, 所见, 影像描述, 影像學所見, 所見, 画像所見, 소견""",
    "impression": """impressions, impression, impression(s), impresiones, impresion, impressao, impressoes,
        impressio, impressione, conclusions, conclusion, conclusion(s), conclusiones, conclusao, conclusoes,
        conclusioni, conclusione, conclusies, conclusie, conclusio, concluzie, concluzii, beurteilung,
        zusammenfassung, zusammenfassende beurteilung, bedomning, sammanfattning, konklusion, konklusjon,
        vurdering, lausunto, johtopaatos, wnioski, wniosek, zaver, kesimpulan, kesan, заключение, вывод, выводы,
        συμπερασμα, 影像诊断, 诊断意见, 诊断印象, 印象, 结论, 诊断, 診断, 結論, 결론, 판독""",
    "indication": """indications, indication, indication(s), indicaciones, indicacion, indikation, indikasjon,
        indikationen, indicazione, indicazioni, indicacao, indicacoes, indicatie, indicacio, indicatie klinisch,
        reason for exam, reason for examination, reason for the exam, reason for the examination, reason for
        study, reason for the study, reason for this exam, reason for this study, reason for visit, reason for
        test, reason for referral, reason for consultation, reason for order, reason for request, reason for
        imaging, reason for scan, reason for procedure, reason for ordering, reason of exam, exam reason,
        study reason, order reason, clinical history, clinical information, clinical indication, clinical
        indications, clinical data, clinical details, clinical question, clinical statement, clinical context,
        clinical background, clinical presentation, clinical diagnosis, clinical notes, clinical info, clinical
        hx, clinical summary, clinical problem, clinical concern, clinical request, clinical reason, history of
        present illness, patient history, medical history, brief history, relevant history, past medical
        history, presenting complaint, chief complaint, admitting diagnosis, provisional diagnosis,
        working diagnosis, pertinent history, request details, referral details, referral reason,
        motivo de consulta, motivo de la consulta, motivo de la exploracion, motivo de exploracion, motivo del
        estudio, motivo de estudio, motivo de peticion, motivo de la peticion, motivo de solicitud, motivo de la
        solicitud, motivo de ingreso, motivo del examen, motivo da consulta, motivo do exame, datos clinicos,
        datos de la peticion, informacion clinica, historia clinica, historia actual, antecedentes personales,
        antecedentes, antecedentes clinicos, sospecha clinica, sospecha diagnostica, orientacion diagnostica,
        diagnostico clinico, diagnostico de sospecha, diagnostico presuntivo, diagnostico de solicitud,
        juicio clinico, cuadro clinico, justificacion, dades cliniques,
        klinische angaben, klinische information, klinische fragestellung, klinische informationen, klinische
        daten, klinik und fragestellung, klinischer hintergrund, fragestellung, anamnese, anamnesis,
        rechtfertigende indikation, renseignements cliniques, contexte clinique, donnees cliniques,
        histoire clinique, motif de l'examen, motif d'examen, motif de consultation, quesito clinico, quesito
        diagnostico, notizie cliniche, dati clinici, anamnesi, informacao clinica, informacoes clinicas, dados
        clinicos, historico clinico, hipotese diagnostica, klinische gegevens, klinische vraagstelling,
        klinische inlichtingen, vraagstelling, endikasyon, klinik bilgi, klinik bilgiler, fragestallning,
        anamnes, klinisk information, kliniske opplysninger, kliniske oplysninger, problemstilling,
        rozpoznanie kliniczne, dane kliniczne, wskazania, skierowanie, klinicke udaje, indikace, keterangan klinis,
        indicatii, показания, анамнез, клинические данные, жалобы, ενδειξη, 临床资料, 临床诊断, 临床病史, 病史,
        检查目的, 适应症, 臨床情報, 検査目的, 적응증""",
    "comparison": """comparisons, comparison, comparison(s), comparision, comparaciones, comparacion, comparativa,
        comparaison, comparacao, comparazione, comparacio, comparatie, vergleich, vergelijking, jamforelse,
        sammenligning, sammenlikning, porownanie, srovnani, karsilastirma, perbandingan, vertailu, сравнение,
        συγκριση, 对比, 比较, 比較, 비교, prior
        studies, prior study, prior exams, prior exam, prior examinations, prior examination, prior imaging,
        prior films, prior radiographs, prior reports, previous studies, previous study, previous exams,
        previous exam, previous examinations, previous examination, previous imaging, previous films, previous
        reports, comparison studies, comparison study, comparative studies, comparative study, comparison exams,
        comparison exam, comparison examinations, comparison examination, comparison films, comparison film,
        comparison imaging, comparison radiographs, comparison radiograph, comparison date, comparison dates,
        comparator, comparators, reference study, reference studies, reference exam, relevant priors, old films,
        estudios previos, estudio previo, estudios anteriores,
        estudio anterior, estudio comparativo, estudios comparativos, estudo comparativo, estudos anteriores,
        estudo anterior, estudios de comparacion, exploraciones previas, exploracion previa, examenes previos,
        examen previo, radiografias previas, pruebas previas, estudis previs, voruntersuchungen,
        voruntersuchung, voraufnahmen, voraufnahme, vorbefunde, vergleichsuntersuchungen,
        vergleichsuntersuchung, examens anterieurs, examen anterieur, examens de comparaison,
        examen de comparaison, anteriorites, confronto, confronti, precedenti, esami precedenti, exames
        anteriores, exame anterior, exames previos, eerder onderzoek, vorig onderzoek, vorige onderzoeken,
        tidigare undersokningar, tidligere undersokelser, poprzednie badania, onceki tetkikler""",
    "technique": """techniques, technique, technique(s), tecnicas, tecnica, technik, techniek, teknik, tekniikka,
        tecnica de exploracion, tecnica de la exploracion, tecnica de estudio, tecnica del estudio, tecnica de
        exame, tecnica d'esame, technical parameters, technical details, technical factors, technical comments,
        technical information, technical notes, scan technique, scan protocol, imaging
        protocol, exam technique, examination technique, imaging technique, acquisition parameters, views
        obtained, untersuchungstechnik, untersuchungsmethode, methodik, protocolo, tehnica, технология,
        методика, 检查方法, 检查技术, 扫描方法, 撮影方法""",
    "recommendation": """recommendations, recommendation, recommendation(s), recomendaciones, recomendacion,
        recomanacions, empfehlungen, empfehlung, recommandations, recommandation, raccomandazioni,
        recomendacoes, recomendacao, aanbeveling, aanbevelingen, rekommendation, anbefaling, zalecenia, oneri,
        oneriler, рекомендации, suggested follow up, follow up recommendations, 建议""",
    "addendum": """addendum, addenda, adendum, adenda, nachtrag, addendums, zusatz, addendum text, corrigendum,
        complemento, aditamento, erganzung""",
    "notification": """notifications, notification, communication of critical results, critical results
        communication, critical result communication, communication of results, critical findings, critical
        results, critical result, critical value, critical communication, results communication, result
        notification""",
    "preliminary": """wet read, wet reading, preliminary read, preliminary reading, prelim read, preliminary
        interpretation, resident interpretation""",
}
SHY = {
    "findings": """fndgs, fdgs, findgs, fndg, fnd, find, finds, fi, gdt, hall, bef, bev, reperto, achado, bevinding,
        constatation, troballa, bulgu, wynik badania, constatare, находка""",
    "report": """radiology report, report text, report body, body of report, report, reports, results, result,
        observations, observation, imaging notes, imaging note, narrative, description, descripcion, body,
        discussion, details, informe, informe radiologico, cuerpo del informe, resultados, resultado,
        observaciones, resultats, resultat, ergebnis, ergebnisse, risultato, risultati, resultaten,
        compte rendu, description des images, rapport, relatorio, laudo, referto, descrizione, descricao,
        analise, verslag, analyse, interpretation des images, bericht, rapor, sonuclar, beskrivning, svar,
        utlatande, opis,
        popis, describe, exam results, test results, result text, report narrative""",
    "impression": """imp, impr, impress, imps, concl, conc, ccl, dx, ddx, summary, summary of findings, opinion,
        opinions, assessment, diagnosis, diagnoses, diagnostico, diagnosticos,
        diagnose, diagnosi, juicio diagnostico, juicio, diagnostico radiologico, synthese, resume,
        resumen, resum, resumo, sintesi, sonuc, bottom line, au total, in summary, in conclusion, en resumen,
        en conclusion, en resume, final diagnosis, concluding remarks, take home message, key points, verdict,
        opinion diagnostica,
        parere, oordeel, samenvatting, epikrise, diagnoza, rozpoznanie, tani, yorum, диагноз""",
    "interpretation": """interpretation, interpretations, interpretacion, interpretazione, interpretacao,
        interpretatie, evaluation, valoracion, reading, readings, review, analysis, analisis""",
    "comment": "comment, comments, radiologist comment, comentario, comentarios, kommentar, commentaire",
    "indication": """history, hx, hist, ind, indx, reason, symptoms, symptom, complaint, complaints, clinical,
        clinic, rfe, motivo, motif, motivazione, clinica, klinik, klinisch, clinique, indic, signs and symptoms,
        history and indication, question, problem, presentation, background, request, cc, hpi, pmh, phx, chx,
        clin hx, clin info, clin, referral, justification, context, sintomas, sintomatologia, historia""",
    "comparison": """comp, compar, cmp, cx, comps, compared to, compared with, compare, comparado con, priors, prior,
        previous, previously, anteriorite, previos, previo, vgl, previous report, prior report""",
    "technique": """tech, tecn, protocol, protocole, method, methods, methode, metodo, metodologia, procedimiento,
        contrast, contraste, contrast medium, contrast agent, procedure, procedures, dose, radiation dose,
        image quality, technical quality, acquisition, quality, kontrastmittel, views, view, projections, projection,
        projecciones, proyecciones, dosis, dosimetry, ctdi, dlp, contrast media, materials and methods, limitations,
        image acquisition""",
    "examination": """examinations, examination, examination(s), exams, exam, exam(s), study, studies, study type,
        exam type, examination type, type of exam, type of examination, type of study, procedure performed,
        exam performed, study performed, examination performed, exam name, exam description, exam title,
        procedure name, procedure description, test, test name, order, order name, ordered procedure,
        study description, exploracion, estudio, estudio realizado, prueba, prueba realizada, untersuchung,
        untersuchungen, examen, examens, examen realise, esame, exame, onderzoek, title, tetkik, undersokning,
        badanie, region, body part, laterality, estudo, исследование, 检查项目, 检查部位""",
    "recommendation": "recs, rec, recommend, plan, follow up, follow-up, followup, advice, advies, conduta, next steps",
    "notification": """communication, communications, results communicated, communicated to, notified, discussed
        with, called to, alert, critical""",
    "record": """patient, patient name, name, patient id, patient identifier, patient number, mrn, medical record,
        medical record number, mr number, dob, date of birth, birth date, age, patient age, sex, gender,
        accession, accession number, accession no, accession id, acc, acc no, exam date, examination date, study
        date, date of exam, date of examination, date of study, date of service, service date, report date,
        date of report, date, time, exam time, study time, date and time, ordering physician, ordering provider,
        ordering doctor, referring physician, referring provider, referring doctor, referrer, referred by,
        requested by, ordered by, requesting physician, requesting provider, attending physician, attending,
        attending radiologist, radiologist, physician, provider, reading physician, location, patient location,
        ward, department, hospital, facility, institution, site, modality, study id, study uid, order number,
        order id, visit number, exam code, exam id, report id, report status, status, report number, case id,
        case number, room, bed, insurance, to, from, subject, sent, attn, fax, phone, tel, paciente, nombre,
        fecha, edad, sexo, numero de historia, nhc, medico, medico solicitante, servicio, name des patienten,
        geburtsdatum, datum, nom, prenom, date de naissance, medecin, paziente, patientnummer, uhid""",
}
MODIFIERS = """clinical radiological radiographic radiologic radiology roentgen imaging image images ct cect hrct
    mri mr us pet xray x-ray xr cr dx cxr rx chest thorax thoracic thoracal abdomen abdominal lung lungs pulmonary
    final preliminary overall main key principal pertinent relevant significant important diagnostic diagnostics
    general other additional incidental ancillary detailed brief short current provided patient primary secondary
    report section radiologist's radiologists radiologist physician's doctor's exam examination study scan
    updated revised amended initial overall the my our los las el la les der die das de descripcion
    radiologischer radiologische klinische klinischer medical dictated original and bone bones cardiac
    mediastinal vascular musculoskeletal skeletal full formatted structured procedure technical
    head neck brain spine pelvis pelvic knee hip shoulder extremity cardiothoracic cardiopulmonary
    today's summary narrative kort klinisk voorlopige vorlaufige abschliessende gesamte"""
SUFFIXES = """of for the a this these chest x-ray xray x-rays xr ct cta mri mr cxr radiograph radiographs
    radiography thorax thoracic lungs lung abdomen pelvis head neck brain spine knee hip shoulder exam
    examination exams examinations study studies scan section sections text continued cont cont'd contd details
    detail information info data is are was were as follows follow following below listed today today's and with
    without contrast views view pa ap lateral lat frontal portable images image imaging performed report series
    plan recommendation recommendations comment comments discussion summary only statement field film films body
    part string value content note notes narrative on from by final preliminary radiologist reviewed date dated
    heart mediastinum pleura bones airways vessels soft tissues cardiac pulmonary upright supine two one single
    radiologica radiologico radiologicos radiologicas radiologiques radiologique diagnostica diagnostico
    diagnosticas diagnosticos clinica clinico clinicas clinicos principales del de la el los las estudio
    exploracion torax tac tc rx des der radiologisch utilizada empleada realizada scanner thoracique"""
